"""Files arrive complete and verified or not at all, archives stay inside their folder, processes do not collide."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lit_cnn.data import CIFAR10, MNIST, FashionMNIST, Flowers, mnist_cifar_files
from lit_cnn.errors import UserError
from lit_cnn.utils.download import PublishedFile, extract, fetch, verify
from lit_cnn.utils.files import file_checksum, file_lock

CONTENT = bytes(range(256)) * 4000
GOOD = hashlib.sha256(CONTENT).hexdigest()


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {"/good": CONTENT, "/wrong": CONTENT[:-1] + b"!", "/cut": CONTENT}
        self.asked: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path == "/cut" else content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_fetched_once_from_the_first_address_that_serves_it_right(server: _Server, tmp_path: Path) -> None:
    urls = tuple(server.url(path) for path in ("/missing", "/wrong", "/cut", "/good"))
    remote = PublishedFile("data.bin", urls, sha256=GOOD)
    path = fetch(remote, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert server.asked == ["/missing", "/wrong", "/cut", "/good"]
    assert _visible(path.parent) == ["data.bin"]
    assert fetch(remote, path.parent) == path
    assert len(server.asked) == 4


def test_wrong_sum_broken_transfer_and_no_answer_are_named_and_leave_nothing_behind(
    server: _Server, tmp_path: Path
) -> None:
    urls = tuple(server.url(path) for path in ("/missing", "/wrong", "/cut"))
    with pytest.raises(UserError) as caught:
        fetch(PublishedFile("data.bin", urls, sha256=GOOD), tmp_path)
    message = str(caught.value)
    wrong = hashlib.sha256(server.files["/wrong"]).hexdigest()
    for part in ("data.bin", "Not Found", f"sha256 {wrong}, expected {GOOD}", "broke off after 512,000 of 1,024,000"):
        assert part in message
    assert "\n" not in message
    assert _visible(tmp_path) == []


def _fetch_in_process(url: str, folder: str) -> None:
    fetch(PublishedFile("data.bin", (url,), sha256=GOOD), Path(folder))


@pytest.mark.slow
def test_two_processes_at_once_download_once(server: _Server, tmp_path: Path) -> None:
    url, folder = server.url("/good"), str(tmp_path)
    process = multiprocessing.get_context("spawn").Process(target=_fetch_in_process, args=(url, folder))
    thread = threading.Thread(target=_fetch_in_process, args=(url, folder))
    with file_lock(tmp_path / ".data.bin.lock"):  # both arrive while the file is locked
        process.start()
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert server.asked == []
    process.join(60)
    thread.join(60)
    assert process.exitcode == 0
    assert server.asked == ["/good"]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_without_download_the_network_is_never_used(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr("urllib.request.urlopen", forbidden)
    for kind in (MNIST, CIFAR10, Flowers):
        data = kind(data_dir=str(tmp_path))
        data.prepare_data()
        with pytest.raises(UserError):
            data.setup("fit")
    FashionMNIST(data_dir=str(tmp_path)).prepare_data()
    with pytest.raises(AssertionError, match="the network was used"):
        CIFAR10(data_dir=str(tmp_path), download=True).prepare_data()


def test_download_asks_for_the_published_files_only(server: _Server, tmp_path: Path) -> None:
    for remote in (mnist_cifar_files.CIFAR_ARCHIVE, Flowers.ARCHIVE):
        assert all(url.startswith("https://") for url in remote.urls)
        assert len(remote.checksum) == (64 if remote.algorithm == "sha256" else 32)


def _archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_becomes_a_complete_folder_or_none(tmp_path: Path) -> None:
    archive = _archive(tmp_path / "a.tgz", {f"set/{i}/x.txt": b"x" * 5000 for i in range(50)})
    folder = tmp_path / "out"
    folder.mkdir()
    damaged = tmp_path / "cut.tgz"
    damaged.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"cannot unpack .*cut.tgz"):
        extract(damaged, "set", folder)
    with pytest.raises(UserError, match="has no folder other"):
        extract(archive, "other", folder)
    assert _visible(folder) == []
    assert extract(archive, "set", folder) == folder / "set"
    assert len(list((folder / "set").rglob("x.txt"))) == 50
    assert _visible(folder) == ["set"]
    assert extract(archive, "set", folder) == folder / "set"


def test_flowers_unpacks_an_archive_it_finds_only_if_it_is_the_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {f"flower_photos/{name}/{i}.jpg": b"" for name in Flowers.CLASSES for i in range(3)}
    archive = _archive(tmp_path / "flower_photos.tgz", members)
    with pytest.raises(UserError, match=rf"is not the published file \(sha256 .*{Flowers.ARCHIVE.sha256}"):
        Flowers(data_dir=str(tmp_path)).prepare_data()
    assert not (tmp_path / "flower_photos").exists()
    sha256 = file_checksum(archive, "sha256")
    monkeypatch.setattr(Flowers, "ARCHIVE", PublishedFile(archive.name, Flowers.ARCHIVE.urls, sha256=sha256))
    data = Flowers(data_dir=str(tmp_path))
    data.prepare_data()
    assert data.class_names == list(Flowers.CLASSES)
    assert len(list((tmp_path / "flower_photos").rglob("*.jpg"))) == 15
    verify(archive, Flowers.ARCHIVE)
