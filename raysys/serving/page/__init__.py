"""The page at `/`, and the headers that keep it to this server."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FOLDER = Path(__file__).parent
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class SafeHeaders:
    """Adds to every response that nothing from other hosts may be loaded or run, and nothing stored."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)


def add_routes(app: FastAPI) -> None:
    """Serve the page's files, and nothing else of the folder. They are read once."""
    files = {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES}

    def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "Not Found")
        return Response(files[name], media_type=f"{_TYPES[Path(name).suffix]}; charset=utf-8")

    @app.get("/", response_class=Response, include_in_schema=False)
    async def index() -> Response:
        return file("index.html")

    @app.get("/page/{name}", response_class=Response, include_in_schema=False)
    async def part(name: str) -> Response:
        return file(name)
