"""Standard streams that are closed, broken, full, or in an encoding without some letters stop no command."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from typing import Any

import pytest

from lit_cnn.utils.streams import is_terminal, keep_going, reliable_streams

LETTERS = "café 日本 🐱 \udce9"  # the last one stands for a byte of a file's name that is no text


class Broken(io.StringIO):
    """Every write fails."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8", "cp437", "utf-16"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_letters_that_an_encoding_lacks_are_replaced(encoding: str, errors: str, monkeypatch: Any) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors=errors))
    with reliable_streams():
        print(LETTERS, flush=True)
    assert raw.getvalue().decode(encoding).startswith("caf")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_nobody_reads_is_dropped(name: str, number: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, name, Broken(number))
    with reliable_streams():
        for _ in range(3):
            print("a line", file=getattr(sys, name), flush=True)


def test_a_full_disk_is_an_error_but_not_for_a_run_that_keeps_going(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(errno.ENOSPC))
    with reliable_streams():
        with keep_going():
            print("a line")
        with pytest.raises(OSError, match="No space left"):
            print("a line")


def test_the_streams_are_given_back_and_not_wrapped_twice(capsys: Any) -> None:
    before = sys.stdout, sys.stderr
    with reliable_streams():
        outer = sys.stdout
        with reliable_streams():
            assert sys.stdout is outer
        assert sys.stdout is outer
    assert (sys.stdout, sys.stderr) == before


def test_missing_streams_are_no_terminals_and_get_a_place_to_write(monkeypatch: Any) -> None:
    closed = io.StringIO()
    closed.close()
    assert not any(map(is_terminal, (None, closed, io.StringIO())))
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with reliable_streams():
        print("a line")
        print("a line", file=sys.stderr)
        assert sys.stdin.read() == ""


CHILD = """
import os, sys
from lit_cnn.utils.streams import reliable_streams
with reliable_streams():
    file = open(sys.argv[1], "w")
    assert file.fileno() > 2, "a file takes the place of a closed stream"
    print("a line"); print("a line", file=sys.stderr); os.write(2, b"a line")
    file.close()
assert os.path.getsize(sys.argv[1]) == 0
"""


@pytest.mark.skipif(os.name != "posix", reason="redirections of a shell")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "| true", "2>&1 | true"])
def test_no_file_takes_the_place_of_a_closed_stream(closed: str, tmp_path: Any) -> None:
    words = ["bash", "-o", "pipefail", "-c", f'"$0" -c "$1" "$2" {closed}', sys.executable, CHILD, tmp_path / "file"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr
