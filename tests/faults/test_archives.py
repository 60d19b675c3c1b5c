"""Archives and downloads that are malicious, damaged, interrupted or requested by two processes at once."""

from __future__ import annotations

import hashlib
import io
import resource
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lit_cnn.errors import UserError
from lit_cnn.utils.download import PublishedFile, extract, fetch
from lit_cnn.utils.files import file_lock

from .children import start_python, wait_for

CONTENT = bytes(range(256)) * 4000


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil", b"x")],
        [member("set/../../evil", b"x")],
        [member("set/out", type=LINK, linkname="../../evil")],
        [member("set/out", type=LINK, linkname="/etc")],
        [member("set/out", type=LINK, linkname="/etc"), member("set/out/evil", b"x")],
        [member("set/a", type=LINK, linkname="."), member("set/a/b", type=LINK, linkname="../../../evil")],
        [member("set/out", type=HARD, linkname="../evil")],
        [member("set/out", type=HARD, linkname="/etc/passwd")],
        [member("set/device", type=tarfile.CHRTYPE)],
        [member("set/pipe", type=tarfile.FIFOTYPE)],
    ],
    ids=lambda members: " ".join(f"{info.name}>{info.linkname}" for info, _ in members),
)
def test_an_archive_that_reaches_outside_is_refused_and_leaves_nothing(members, tmp_path):
    folder = tmp_path / "deep" / "out"
    folder.mkdir(parents=True)
    evil = archive(tmp_path / "evil.tgz", member("set/a.txt", b"good"), *members)
    with pytest.raises(UserError, match=r"^cannot unpack .*evil.tgz: .*; remove it and fetch it again$"):
        extract(evil, "set", folder)
    assert visible(folder) == []
    assert not list(tmp_path.rglob("evil"))


def test_an_absolute_path_is_unpacked_inside(tmp_path):
    odd = archive(tmp_path / "a.tgz", member("/set/a.txt", b"x"))
    assert (extract(odd, "set", tmp_path / "out") / "a.txt").read_bytes() == b"x"


def test_an_archive_damaged_anywhere_is_named_in_one_line(tmp_path):
    whole = archive(tmp_path / "a.tgz", *(member(f"set/{i}", hashlib.sha512(bytes(i)).digest() * 9) for i in range(20)))
    content = whole.read_bytes()
    refused = []
    for place in range(10, len(content), len(content) // 40):
        whole.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        folder = tmp_path / str(place)
        try:
            extract(whole, "set", folder)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 35  # the rest are bytes without a meaning
    assert not [message for message in refused if "\n" in message]
    assert not [name for folder in tmp_path.iterdir() if folder.is_dir() for name in visible(folder) if name != "set"]


def test_a_full_disk_while_unpacking_is_no_fault_of_the_archive(tmp_path):
    big = archive(tmp_path / "a.tgz", member("set/small", b"x"), member("set/big", bytes(2_000_000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot unpack .*a.tgz: File too large; choose another folder"):
            extract(big, "set", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert visible(tmp_path / "out") == []
    assert (extract(big, "set", tmp_path / "out") / "big").stat().st_size == 2_000_000


KILLED = """
import sys, tarfile, time
from pathlib import Path
from lit_cnn.utils.download import extract

real, made = tarfile.TarFile.makefile, []

def pause(self, tarinfo, targetpath):
    real(self, tarinfo, targetpath)
    made.append(targetpath)
    if len(made) == 5:
        Path("waiting").touch()
        time.sleep(60)

tarfile.TarFile.makefile = pause
extract(Path("a.tgz"), "set", Path("out"))
"""


def test_an_extraction_that_was_killed_is_not_used_and_is_cleared_away(workdir):
    whole = archive(workdir / "a.tgz", *(member(f"set/{i}", b"x" * 1000) for i in range(9)))
    child = start_python(KILLED)
    wait_for(workdir / "waiting", child)
    child.kill()
    child.communicate(timeout=30)
    assert visible(Path("out")) == [".set.part"]
    assert len(list(Path("out/.set.part/set").iterdir())) == 5
    assert len(list(extract(whole, "set", Path("out")).iterdir())) == 9
    assert visible(Path("out")) == ["set"]


BOTH = """
import sys, tarfile
from pathlib import Path
from lit_cnn.utils.download import extract

real = tarfile.TarFile.extractall

def told(self, *args, **kwargs):
    print("unpacking")
    real(self, *args, **kwargs)

tarfile.TarFile.extractall = told
Path(sys.argv[1]).touch()
print(len(list(extract(Path("a.tgz"), "set", Path("out")).iterdir())))
"""


def test_of_two_processes_one_unpacks_and_the_other_waits_for_it(workdir):
    archive(workdir / "a.tgz", *(member(f"set/{i}", b"x" * 1000) for i in range(9)))
    with file_lock(Path("out/.set.lock")):  # both arrive while it is held
        children = [start_python(BOTH, name) for name in ("first", "second")]
        for child, name in zip(children, ("first", "second"), strict=True):
            wait_for(workdir / name, child)
        time.sleep(0.3)
        assert visible(Path("out")) == []
    outputs = sorted(child.communicate(timeout=60)[0].split() for child in children)
    assert outputs == [["9"], ["unpacking", "9"]]


class Slow(BaseHTTPRequestHandler):
    """Sends half of the content, and the rest only once it may."""

    go_on = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        self.wfile.flush()
        self.go_on.wait(60)
        self.wfile.write(CONTENT[len(CONTENT) // 2 :])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        Slow.go_on.set()
        server.shutdown()
        thread.join()


FETCH = """
import sys
from pathlib import Path
from lit_cnn.utils.download import PublishedFile, fetch

fetch(PublishedFile("data.bin", (sys.argv[1],), sha256=sys.argv[2]), Path("out"))
"""


def test_a_download_that_was_killed_starts_again(workdir, url):
    right = hashlib.sha256(CONTENT).hexdigest()
    child = start_python(FETCH, url, right)
    while not list(Path("out").glob(".data.bin.*.partial")):
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.01)
    child.kill()
    child.communicate(timeout=30)
    assert not Path("out/data.bin").exists()
    Slow.go_on.set()
    assert fetch(PublishedFile("data.bin", (url,), sha256=right), Path("out")).read_bytes() == CONTENT
    assert visible(Path("out")) == ["data.bin"]
