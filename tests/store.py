"""An object store of S3's kind on this machine, for reading: it can be down, forbid, or fail now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
_LIST = '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'


class Store:
    """Objects by key, such as "bucket/runs/x"; `fails` says of the n-th request which status it is answered, or 0."""

    def __init__(self, objects: dict[str, bytes], fails: Callable[[int], int] = lambda _: 0) -> None:
        self.objects = objects
        self.fails = fails
        self.requests = 0
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                store.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        url = urlsplit(request.path)
        data = self.objects.get(unquote(url.path).lstrip("/"))
        if status := self.fails(self.requests):
            code = {403: "AccessDenied", 500: "InternalError"}[status]
            self._send(request, status, _ERROR.format(code=code).encode())
        elif "list-type" in url.query:
            self._send(request, 200, _LIST.encode())
        elif data is None:
            self._send(request, 404, _ERROR.format(code="NoSuchKey").encode())
        elif span := request.headers.get("Range"):
            first, last = (int(part) for part in span.removeprefix("bytes=").split("-"))
            self._send(request, 206, data[first : last + 1], f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}")
        else:
            self._send(request, 200, data)

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes, span: str = "") -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Content-Type", "application/xml" if status >= 400 else "binary/octet-stream")
        request.send_header("ETag", '"0"')
        request.send_header("Last-Modified", "Sat, 28 Nov 2026 00:00:00 GMT")
        if span:
            request.send_header("Content-Range", span)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
