from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from pathlib import Path

import pytest
import torch

from lit_cnn.checkpoint.io import AtomicCheckpointIO
from lit_cnn.errors import UserError

OLD, NEW = {"weight": torch.zeros(1000), "epoch": 1}, {"weight": torch.ones(1000), "epoch": 2}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, target)
    return target


def epoch(path: Path) -> int:
    return torch.load(path, weights_only=True)["epoch"]


def test_a_checkpoint_is_replaced_completely_and_nothing_else_remains(path):
    AtomicCheckpointIO().save_checkpoint(NEW, path)
    assert epoch(path) == 2
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    assert AtomicCheckpointIO().load_checkpoint(path, weights_only=True)["epoch"] == 2


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_at_any_point_keeps_the_old_file_and_is_one_line(call, path, monkeypatch):
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
    with pytest.raises(UserError, match=r"cannot write the checkpoint .*last.ckpt: No space left on device; earlier"):
        AtomicCheckpointIO().save_checkpoint(NEW, path)
    assert epoch(path) == 1
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_a_full_disk_in_the_middle_of_a_write_keeps_the_old_file(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails with EFBIG
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(UserError, match="cannot write the checkpoint"):
            AtomicCheckpointIO().save_checkpoint(NEW, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert epoch(path) == 1
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_a_file_that_reads_back_damaged_never_replaces_the_old_one(path, monkeypatch):
    save = torch.save

    def damage(item: object, file: object) -> None:
        save(item, file)
        file.seek(1500)
        file.write(b"\xff" * 64)

    monkeypatch.setattr(torch, "save", damage)
    with pytest.raises(UserError, match=r"damaged|cannot write"):
        AtomicCheckpointIO().save_checkpoint(NEW, path)
    assert epoch(path) == 1


def test_others_may_read_it_as_the_mask_says(path):
    plain = path.with_name("plain")
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
