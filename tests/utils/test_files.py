from __future__ import annotations

import hashlib
import multiprocessing

import pytest
from filelock import Timeout

from lit_cnn.utils.files import atomic_write, digest, file_checksum, file_lock


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("sync", [False, True])
def test_a_write_replaces_the_file_only_at_its_end(tmp_path, sync):
    path = tmp_path / "a.bin"
    with atomic_write(path, "wb", sync=sync) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def _try(path: str, results: multiprocessing.Queue) -> None:
    try:
        file_lock(path).acquire(timeout=0)
        results.put("got it")
    except Timeout:
        results.put("held")


def test_a_lock_keeps_another_process_out(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    path = tmp_path / "sub" / "lock"
    with file_lock(path):
        child = context.Process(target=_try, args=(path, results))
        child.start()
        assert results.get(timeout=30) == "held"
        child.join()
    child = context.Process(target=_try, args=(path, results))
    child.start()
    assert results.get(timeout=30) == "got it"
    child.join()


def test_checksums_are_those_of_hashlib(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    for algorithm in ("sha256", "md5"):
        assert file_checksum(path, algorithm) == hashlib.new(algorithm, path.read_bytes()).hexdigest()


def test_the_digest_of_parts_never_changes():
    assert digest("a", 1, None) == hashlib.blake2b(b"a\x001\x00None", digest_size=8).hexdigest()
