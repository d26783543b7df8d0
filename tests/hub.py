"""The Hugging Face Hub's HTTP interface on this machine, as far as models are uploaded and downloaded through it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

OWNER = "hf_owner"
"""The token that may write to every repository; others may read what is neither private nor gated."""


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})


class Hub:
    """Repositories by name; `asked` lists each request's method and path."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                url = urlsplit(self.path)
                self.send(*hub.answer(self.command, unquote(url.path), body, token))

            do_GET = do_HEAD = do_POST = do_PUT = answer

            def send(self, status: int, body: Any, headers: dict[str, str]) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(data))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, repo: str) -> dict[str, bytes]:
        """What is at the head of a repository."""
        return self.repos[repo].commits[self.repos[repo].branches["main"]]

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any, dict[str, str]]:
        if token == "hf_wrong":
            return 401, {}, {"X-Error-Message": "Invalid credentials in Authorization header"}
        if method == "PUT":
            self.large[path.rsplit("/", 1)[1]] = body
            return 200, {}, {}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        if path == "/api/repos/create":
            return self._create(json.loads(body), token)
        found = re.fullmatch(r"(?:/api/models)?/(?P<repo>[^/]+/[^/]+?)(?:\.git)?(?:/(?P<rest>.*))?", path)
        assert found is not None, path
        repo = self.repos.get(found["repo"])
        if repo is None or (repo.private and token != OWNER):
            return 404 if token else 401, {}, {"X-Error-Code": "RepoNotFound"}
        if repo.gated and token != OWNER:
            return 403, {}, {"X-Error-Code": "GatedRepo"}
        return self._of_repo(found["repo"], repo, found["rest"] or "", body, token)

    def _create(self, asked: dict[str, Any], token: str) -> tuple[int, Any, dict[str, str]]:
        name = f"{asked['organization']}/{asked['name']}"
        if token != OWNER:
            return 403, {"error": "You don't have the rights to create a model under this namespace"}, {}
        if name in self.repos:
            return 409, {"url": f"{self.address}/{name}"}, {}
        self.repos[name] = Repo(private=asked.get("private") or asked.get("visibility") == "private")
        return 200, {"url": f"{self.address}/{name}", "name": name}, {}

    def _of_repo(self, name: str, repo: Repo, rest: str, body: bytes, token: str) -> tuple[int, Any, dict[str, str]]:
        kind, _, rest = rest.partition("/")
        if kind == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": modes}, {}
        if kind == "info":
            objects = [
                row | {"actions": {"upload": {"href": f"{self.address}/lfs/{row['oid']}"}}}
                for row in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}, {}
        if kind == "commit":
            oid = self._commit(repo, [json.loads(line) for line in body.splitlines()])
            return 200, {"commitOid": oid, "commitUrl": f"{self.address}/{name}/commit/{oid}"}, {}
        revision, _, rest = rest.partition("/")
        oid = repo.branches.get(revision or "main", revision)
        if oid not in repo.commits:
            return 404, {}, {"X-Error-Code": "RevisionNotFound"}
        files = repo.commits[oid]
        if kind in ("", "revision"):
            siblings = [{"rfilename": file} for file in files]
            return 200, {"id": name, "sha": oid, "siblings": siblings, "private": repo.private}, {}
        if kind == "tree":
            tree = [
                {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for file, data in files.items()
            ]
            return 200, tree, {}
        assert kind == "resolve", kind
        headers = {"X-Repo-Commit": oid, "ETag": f'"{hashlib.sha256(files[rest]).hexdigest()}"'}
        return 200, files[rest], headers

    def _commit(self, repo: Repo, lines: list[dict[str, Any]]) -> str:
        files = dict(repo.commits[repo.branches["main"]])
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        oid = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        repo.commits[oid] = files
        repo.branches["main"] = oid
        return oid
