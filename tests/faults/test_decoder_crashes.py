"""Decoders that raise or crash the process: the image is named."""

from __future__ import annotations

import signal

import pytest

from lit_cnn.cli.main import main
from lit_cnn.data.decoding import decode

from .children import Forked
from .image_sets import DATA, FIT, write_set


@pytest.mark.parametrize("error", [RuntimeError("codec broke"), SystemError("tile"), MemoryError()], ids=repr)
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_an_error_in_a_decoding_thread_is_one_line_with_the_file(error, policy, workdir, fails, monkeypatch):
    write_set({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/dog": 1})
    real = decode._decode

    def broken(path, *args):
        if str(path).endswith("train/cat/02.jpg"):
            raise error
        return real(path, *args)

    monkeypatch.setattr(decode, "_decode", broken)  # not what the scan calls: the file turns bad after it
    line = fails("fit", *FIT, "--workers=2", f"--data.on_bad_image={policy}")
    reason = "now: not enough memory; " if isinstance(error, MemoryError) else f": {error}; "
    assert f"cannot read image set/train/cat/02.jpg{' ' * reason.startswith('now')}{reason}" in line


def test_a_scan_short_of_memory_or_files_stops_and_calls_no_image_broken(workdir, fails, monkeypatch):
    write_set({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/dog": 1})
    for error in (MemoryError(), OSError(24, "Too many open files")):

        def short(*args, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(decode, "to_channels", short)
            line = fails("fit", *FIT, "--data.on_bad_image=skip")
        assert "cannot read image set/train/cat/00.jpg now: " in line
        assert "smaller --workers" in line
    main(["prepare", *DATA, "--data.on_bad_image=skip"])


CRASHING = """
import ctypes, sys
from lit_cnn.cli.main import main
from lit_cnn.data.decoding import decode

real = getattr(decode, sys.argv[1])

def crash(path, *args):
    if str(path).endswith("train/cat/02.jpg"):
        ctypes.string_at(0)
    return real(path, *args)

setattr(decode, sys.argv[1], crash)
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("function", "words"),
    [("_decode", ["fit", *FIT, "--workers=2"]), ("_decode_fully", ["prepare", *DATA])],
    ids=["training", "scan"],
)
def test_a_segmentation_fault_in_a_decoder_names_the_file(function, words, workdir):
    write_set({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/dog": 1})
    child = Forked(CRASHING, function, *words)
    _, error = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in error
    named = [line for line in error.splitlines() if "_while_reading_this_file" in line]
    assert len(named) == 1
    assert 'File "set/train/cat/02.jpg", ' in named[0]
