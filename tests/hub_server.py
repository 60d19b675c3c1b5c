"""A server on this machine that speaks as much of the Hugging Face Hub's protocol as downloads need."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "fedcba9876543210fedcba9876543210fedcba98"


class HubServer(ThreadingHTTPServer):
    """Repositories of models by name; each a dictionary of contents by file name.

    Attributes:
        repositories: what is served.
        commit: that ``main`` stands for.
        gated: names of repositories whose files are refused.
        asked: methods and paths of all requests.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commit = COMMIT
        self.gated: set[str] = set()
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_GET  # noqa: N815

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        owner, name, kind, revision, file = (*unquote(self.path).strip("/").split("/", 4), "", "", "", "", "")[:5]
        files = self.server.repositories.get(f"{owner}/{name}")
        if kind != "resolve" or files is None:
            return self._refuse(404, "RepoNotFound")
        if f"{owner}/{name}" in self.server.gated:
            return self._refuse(403, "GatedRepo")
        if revision not in ("main", "v1", COMMIT, LATER):
            return self._refuse(404, "RevisionNotFound")
        if file not in files:
            return self._refuse(404, "EntryNotFound")
        content = files[file]
        large = len(content) > 10_000  # in LFS, by SHA-256
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        self._send(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest() if large else git}"'})
        return None

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, json.dumps({"error": code}).encode(), {"X-Error-Code": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "X-Repo-Commit": self.server.commit, "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server with an empty cache beside it; the variables of the environment are read at the first import."""
    server = HubServer()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.stop()
