"""``lit-cnn serve``: mistakes are one line; a real process answers, and ends in good order."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lit_cnn.cli.commands import serve
from tests.serve.helpers import picture

TOKEN = "a-token-of-many-signs"


@pytest.fixture
def checkpoint(trained, workdir):
    """The checkpoint of a run folder of its own."""
    return shutil.copytree(trained, workdir / "a run") / "checkpoints" / "best.ckpt"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ckpt_path=missing"], "missing"),
        (["--port=x"], "--port x: expected a number up to 65535"),
        (["--port=70000"], "--port 70000: expected a number up to 65535"),
        (["--host=0.0.0.0"], "--host 0.0.0.0 lets other machines reach the server: give them a --token"),
        (["--host=::"], "--host :: lets other machines reach the server"),
        (["--host=0.0.0.0", "--token=short"], "--token must have at least 16 letters"),
        (["--token="], "--token must have at least 16 letters"),
        (["--host=192.0.2.7", f"--token={TOKEN}"], "cannot listen on 192.0.2.7, port 8000"),
        (["--rate-limit=-1"], "--rate-limit"),
        (["--batch-size=0"], "--batch-size 0: expected a whole number of images, at least 1"),
        (["--data-dir=photos"], "--data-dir is where training pictures are, which --nearest shows: add it"),
        (["photo.jpg"], "unrecognized arguments: photo.jpg"),
    ],
)
def test_mistakes_are_one_line(checkpoint, fails, words, said):
    words = words if "--ckpt_path=missing" in words else [f"--ckpt_path={checkpoint}", *words]
    line = fails("serve", *words)
    assert said in line
    assert TOKEN not in line


def test_a_port_in_use_is_said_before_the_model_is_loaded(checkpoint, taken, fails):
    line = fails("serve", f"--ckpt_path={checkpoint}", f"--port={taken}")
    assert line == f"port {taken} of 127.0.0.1 is in use: choose another --port, or 0 for any"


def test_a_missing_package_is_named_with_the_extra(checkpoint, fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    line = fails("serve", f"--ckpt_path={checkpoint}")
    assert line == "serve needs the uvicorn package: pip install 'lit-cnn[serve]'"


def test_the_token_of_the_environment_counts(checkpoint, fails, monkeypatch):
    monkeypatch.setenv(serve.TOKEN_VARIABLE, "short")
    assert "--token must have at least 16 letters" in fails("serve", f"--ckpt_path={checkpoint}")


class Server:
    """``lit-cnn serve`` in a process of its own.

    Attributes:
        port: that it listens on.
        process: of the command.
    """

    def __init__(self, workdir: Path, *words: str, **env: str) -> None:
        self.temporary = workdir / "temporary"
        self.temporary.mkdir()
        env = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1", **env}
        command = [sys.executable, "-m", "lit_cnn", "serve", "--port=0", *words]
        self.process = subprocess.Popen(
            command, cwd=workdir, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = ""
        while "Ctrl-C" not in line:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
        self.port = int(line.partition("http://127.0.0.1:")[2].partition("/")[0])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def predict(self, content: bytes, **headers: str) -> tuple[int, dict]:
        connection = self.connect()
        connection.request("POST", "/api/predict", content, {"Content-Type": "image/png", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def end(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, error = self.process.communicate(timeout=60)
        return self.process.returncode, out, error


@pytest.fixture
def start(workdir) -> Iterator:
    """Start servers that do not outlive the test."""
    servers: list[Server] = []

    def run(*words: str, **env: str) -> Server:
        servers.append(Server(workdir, *words, **env))
        return servers[-1]

    yield run
    for server in servers:
        server.process.kill()
        server.process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "ctrl-c"])
def test_a_request_that_has_begun_is_answered_before_the_server_ends(checkpoint, workdir, start, number):
    server = start(f"--ckpt_path={checkpoint}", f"--token={TOKEN}")
    before = sorted(workdir.rglob("*"))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    status, answer = server.predict(picture(), **bearer)
    assert status == 200
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert server.predict(picture())[0] == 401
    status, refused = server.predict(bytes(100_000_000), **bearer)
    assert (status, refused) == (413, {"error": "the image has more than 20 MB"})
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        content = picture()
        head = f"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(content)}\r\n"
        half.sendall(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode() + content[:20])
        time.sleep(0.5)
        server.process.send_signal(number)
        time.sleep(0.5)
        assert server.process.poll() is None
        with pytest.raises(OSError):  # noqa: PT011 (refused or reset)
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        half.sendall(content[20:])
        reply = b"".join(iter(lambda: half.recv(65536), b""))
    assert reply.startswith(b"HTTP/1.1 200")
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["probabilities"] == answer["probabilities"]
    out, error = server.process.communicate(timeout=60)
    assert server.process.returncode == 0, error
    assert "images answered: 2, in batches: 2; requests refused: 2" in out
    assert TOKEN not in out + error
    assert error == ""
    assert sorted(workdir.rglob("*")) == before  # nothing was written


@pytest.mark.slow
def test_strangers_do_not_stop_it_and_leave_no_lines(checkpoint, workdir, start):
    server = start(f"--ckpt_path={checkpoint}", "--max-upload=1")
    for garbage in (
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/predict HTTP/1.1\r\nHost: x\r\n",
        b"\0" * 100_000,
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as stranger:
            stranger.sendall(garbage)
            stranger.shutdown(socket.SHUT_WR)
            stranger.settimeout(10)
            reply = stranger.recv(1000)
            assert not reply or reply.startswith(b"HTTP/1.1 4")
    connection = server.connect()  # goes away within its upload
    connection.putrequest("POST", "/api/predict")
    connection.putheader("Content-Type", "image/png")
    connection.putheader("Content-Length", "100000")
    connection.endheaders(b"x" * 10)
    connection.close()
    assert server.predict(picture())[0] == 200
    status, out, error = server.end(signal.SIGTERM)
    assert (status, error) == (0, "")
    assert "images answered: 1, in batches: 1" in out
    assert not list(server.temporary.iterdir())
