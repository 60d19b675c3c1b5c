"""Disks that are full, read-only or gone: refused at the start, or one line and a stop."""

from __future__ import annotations

import collections
import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from lit_cnn.checkpoint.record import load_verified
from tests.conftest import LENET, TINY

from .harness import SHORT, last, run, terminal

CHILD = """
import resource, sys
from lit_cnn.cli.main import main
{limit}
main(sys.argv[1:])
"""


def limited(limit: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD.format(limit=limit), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


class LimitFiles(Callback):
    """No file of this process may be larger, as on a disk with so much room left."""

    def __init__(self, size: int) -> None:
        self.size = size

    def on_train_start(self, trainer, pl_module) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_stops_the_run_with_one_line_and_leaves_the_earlier_checkpoints(stopped, tmp_path) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "root"))
    before = last(root).read_bytes()
    assert run("fit", "--resume", root=root, callbacks=(LimitFiles(len(before) // 2),), check=False) == 2
    said = terminal(root)
    assert "cannot write the checkpoint" in said
    assert "File too large" in said
    assert "Traceback" not in said
    assert last(root).read_bytes() == before
    assert [p.name for p in last(root).parent.iterdir() if "partial" in p.name] == []


def test_a_disk_without_room_for_the_checkpoints_is_refused_before_training(tmp_path, monkeypatch, fails) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10**5, 10**5))
    error = fails("fit", *LENET, f"--trainer.default_root_dir={tmp_path}")
    assert "has 0 MB free, and this run keeps 4 checkpoints" in error
    assert not (tmp_path / "lightning_logs" / "version_0").exists()


@pytest.mark.slow
def test_a_full_disk_is_one_line_when_a_table_or_figure_does_not_fit(tmp_path) -> None:
    limit = "import lit_cnn.cli.commands.run; resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))"
    words = ["--epochs=2", "--trainer.enable_checkpointing=false", f"--trainer.default_root_dir={tmp_path}"]
    done = limited(limit, "fit", *TINY, *words)
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A small separate filesystem; skips the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small filesystem")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_small_disk_that_fills_up_is_one_line(tmp_path) -> None:
    with disk(tmp_path / "disk", "size=1200k") as root:
        words = ["fit", *LENET, "--epochs=30", f"--trainer.default_root_dir={root}", "--checkpoint_every=1"]
        done = limited("import lit_cnn.callbacks.last_checkpoint as c; c.FILES = 0", *words)
        assert done.returncode == 2, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        for path in last(root).parent.glob("*.ckpt"):
            load_verified(path)


class RemoveFolder(Callback):
    """Remove the run's folder after some steps, as somebody tidying up might."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == 6:
            shutil.rmtree(Path(trainer.checkpoint_callback.dirpath).parent)


def test_a_run_whose_folder_vanished_stops_with_one_line_instead_of_training_on_unsaved(tmp_path) -> None:
    status = run("fit", *SHORT, root=tmp_path, callbacks=(RemoveFolder(),), check=False)
    assert status == 2
    assert "its folder is gone" in terminal(tmp_path)
    assert "Traceback" not in terminal(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path, fails) -> None:
    (tmp_path / "file").write_text("not a folder")
    error = fails("fit", *TINY, f"--trainer.default_root_dir={tmp_path / 'file'}")
    assert "cannot write the run folder" in error


def test_a_read_only_disk_is_refused_at_the_start(tmp_path, fails) -> None:
    with disk(tmp_path / "disk", "ro") as root:
        error = fails("fit", *TINY, f"--trainer.default_root_dir={root}")
    assert "cannot write the run folder" in error
    assert "Read-only file system" in error


@pytest.mark.slow
def test_checkpoints_are_written_where_they_go_whatever_the_temporary_folder(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lit_cnn", "fit", *TINY, "--epochs=1", f"--trainer.default_root_dir={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": "/nowhere"},
    )
    assert done.returncode == 0, done.stderr
    load_verified(last(tmp_path))
