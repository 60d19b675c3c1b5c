"""Scans for broken images that are interrupted or killed: the verdicts so far are kept, or not used."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lit_cnn.cli.main import main
from lit_cnn.data.decoding import verify

from .children import Forked, wait_for
from .image_sets import DATA, FIT, write_set

SLOW = """
import sys, time
from pathlib import Path
from lit_cnn.cli.main import main
from lit_cnn.data.decoding import verify

real, seen = verify.check_image, []

def slow(path, max_pixels):
    seen.append(path)
    if len(seen) > 20:
        Path("waiting").touch()
        time.sleep(0.3)
    return real(path, max_pixels)

verify.check_image = slow
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["prepare", "fit"])
def test_ctrl_c_during_the_scan_keeps_the_verdicts_so_far(command, workdir, monkeypatch, capsys):
    write_set({"train/cat": 25, "train/dog": 25, "val/cat": 1, "val/dog": 1})
    Path("set/train/cat/bad.jpg").write_bytes(b"")
    words = [command, *(FIT if command == "fit" else DATA), "--data.on_bad_image=skip", "--workers=2"]
    child = Forked(SLOW, *words)
    wait_for(workdir / "waiting", child)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=30)
    assert child.returncode == 130, error
    assert "Traceback" not in error
    again: list[str] = []
    real = verify.check_image
    monkeypatch.setattr(verify, "check_image", lambda path, limit: (again.append(str(path)), real(path, limit))[1])
    main(["prepare", *DATA, "--data.on_bad_image=skip"])
    assert 0 < len(again) <= 53 - 18  # two threads may not have handed in what they had
    assert "1 of 53 images cannot be read" in capsys.readouterr().out


TORN = """
import os, sys, time
from pathlib import Path
from lit_cnn.data.decoding.verify import find_broken

def wait(part, store):
    Path("waiting").touch()
    time.sleep(60)

os.replace = wait
find_broken(Path("set"), ["cat/00.jpg", "cat/bad.jpg"], 10**6, 1)
"""


def test_verdicts_killed_while_written_are_not_used(workdir, monkeypatch):
    write_set({"cat": 1})
    Path("set/cat/bad.jpg").write_bytes(b"")
    child = Forked(TORN)
    wait_for(workdir / "waiting", child)
    child.kill()
    child.communicate(timeout=30)
    paths = ["cat/00.jpg", "cat/bad.jpg"]
    assert list(verify.find_broken(Path("set"), paths, 10**6, 1)) == ["cat/bad.jpg"]
    monkeypatch.setattr(verify, "check_image", None)
    assert list(verify.find_broken(Path("set"), paths, 10**6, 1)) == ["cat/bad.jpg"]  # now they are there
