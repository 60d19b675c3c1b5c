"""Checkpoints that are damaged, or whose process is killed while it writes them."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from lit_cnn.checkpoint.diff import differences
from lit_cnn.checkpoint.io import AtomicCheckpointIO
from lit_cnn.checkpoint.record import load_verified, read_record
from lit_cnn.cli.main import main
from lit_cnn.errors import DamagedCheckpointError, UserError
from tests.conftest import TINY, state_differences

from .harness import SHORT, KillAt, last, run, scalars, terminal


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("straight")
    run("fit", *SHORT, root=root)
    return root


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


# -- damaged files ---------------------------------------------------------------------------------------------------


def test_a_bit_flipped_at_any_of_50_offsets_is_found_or_changes_nothing(stopped: Path, tmp_path: Path) -> None:
    good = last(stopped)
    content = load_verified(good)
    size = good.stat().st_size
    damaged = tmp_path / "last.ckpt"
    found: list[str] = []
    for i in range(50):
        shutil.copy(good, damaged)
        flip(damaged, i * (size - 1) // 49, i % 8)
        try:  # a bit of padding or of a date is no damage, if nothing that is loaded has changed
            assert list(differences(content, load_verified(damaged))) == []
        except UserError as error:
            found.append(str(error))
    assert len(found) >= 40
    assert all(str(damaged) in line and "\n" not in line for line in found)


def test_without_the_hash_a_change_that_fits_the_checksums_would_not_be_seen(stopped: Path, tmp_path: Path) -> None:
    content = torch.load(last(stopped), weights_only=True)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name].view(-1)[0] += 1
    path = tmp_path / "changed.ckpt"
    torch.save(content, path)
    with pytest.raises(DamagedCheckpointError, match="does not match the hash stored in it"):
        load_verified(path)


@pytest.mark.parametrize(
    "damage", ["cut", "gone", *(pytest.param(damage, marks=pytest.mark.slow) for damage in ("flipped", "empty"))]
)
def test_resume_skips_a_damaged_newest_checkpoint_and_ends_with_the_same_bits(
    damage: str, stopped: Path, straight: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "root"))
    path = last(root)
    newest = read_record(path).step
    if damage == "cut":
        os.truncate(path, path.stat().st_size * 2 // 3)
    elif damage == "flipped":
        flip(path, path.stat().st_size // 2)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    run("fit", "--resume", root=root)
    said = terminal(root)
    if damage != "gone":
        assert f"skipped: {path}" in said
    assert f"previous.ckpt (step {newest - 4})" in said
    for name in ("last", "previous"):
        read_record(path.with_name(f"{name}.ckpt"))
    assert state_differences(last(straight), last(root)) == []


def test_curves_and_the_best_of_a_resumed_run_are_those_of_an_uninterrupted_one(
    stopped: Path, straight: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "root"))
    before = scalars(last(root).parent.parent)
    assert before["val/acc"], "the killed run had written some"
    run("fit", "--resume", root=root)
    first, second = (last(r).parent.parent for r in (straight, root))
    assert scalars(first) == scalars(second)
    assert len(scalars(first)["val/acc"]) == 3
    assert (first / "metrics.csv").read_bytes() == (second / "metrics.csv").read_bytes()
    best = [read_record(r / "checkpoints" / "best.ckpt").step for r in (first, second)]
    assert best[0] == best[1]
    states = [
        next(v for k, v in load_verified(last(r))["callbacks"].items() if k.startswith("BestCheckpoint"))
        for r in (straight, root)
    ]
    assert torch.equal(states[0]["best_model_score"], states[1]["best_model_score"])
    assert len(states[1]["best_k_models"]) == 1


def test_the_first_save_after_a_damaged_checkpoint_keeps_the_valid_one(stopped, tmp_path) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "root"))
    path = last(root)
    flip(path, path.stat().st_size // 2)
    resumed_from = read_record(path.with_name("previous.ckpt")).step
    kill = KillAt(resumed_from + 5)  # after one save
    assert run("fit", "--resume", root=root, callbacks=(kill,), check=False) == -9
    assert read_record(path).step == resumed_from + 4
    assert read_record(path.with_name("previous.ckpt")).step == resumed_from


def test_a_resume_from_best_continues_from_best(stopped, tmp_path) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "root"))
    best = last(root).with_name("best.ckpt")
    assert read_record(best).step < read_record(last(root)).step
    run("fit", "--ckpt_path", "best", root=root)
    assert f"{best} (step {read_record(best).step})" in terminal(root) or "best.ckpt (step 10)" in terminal(root)


def test_a_resume_without_a_valid_checkpoint_is_refused_with_how_to_start_again(stopped, tmp_path, fails) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "root"))
    for path in last(root).parent.iterdir():
        os.truncate(path, 100)
    error = fails("fit", "--resume", "--trainer.default_root_dir", str(root))
    assert str(last(root)) in error
    assert "every other checkpoint beside it is damaged too: start again" in error


def test_an_evaluation_refuses_a_damaged_checkpoint_and_names_it(stopped, tmp_path, fails) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "root"))
    path = last(root)
    flip(path, path.stat().st_size // 2)
    for command in ("test", "validate"):
        assert str(path) in fails(command, "--ckpt_path", str(path))


# -- writing ---------------------------------------------------------------------------------------------------------


class KillInSave(Callback):
    """Kill this process at a moment of writing a checkpoint; ``moment`` is a function that the writer calls."""

    def __init__(self, moment: str, count: int) -> None:
        self.moment, self.count = moment, count

    def on_train_start(self, trainer, pl_module) -> None:
        module, name = {
            "save": (torch, "save"),
            "fsync": (os, "fsync"),
            "chmod": (Path, "chmod"),
            "replace": (Path, "replace"),
            "link": (os, "link"),
        }[self.moment]
        real = getattr(module, name)

        def deadly(*args, **kwargs):
            self.count -= 1
            if self.count > 0:
                return real(*args, **kwargs)
            if name == "save":
                args[1].write(b"half of a checkpoint")
                args[1].flush()
            elif self.count == 0 and self.moment in ("replace", "link"):
                real(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        setattr(module, name, deadly)


@pytest.mark.parametrize(
    "moment", ["save", "link", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fsync", "chmod", "replace"))]
)
def test_a_kill_during_a_save_leaves_a_valid_checkpoint_and_the_resume_is_exact(
    moment: str, straight: Path, tmp_path: Path
) -> None:
    assert run("fit", *SHORT, root=tmp_path, callbacks=(KillInSave(moment, 5),), check=False) == -9
    for path in last(tmp_path).parent.glob("*.ckpt"):
        load_verified(path)
    run("fit", "--resume", root=tmp_path)
    assert state_differences(last(straight), last(tmp_path)) == []
    assert not list(last(tmp_path).parent.glob(".*.partial")), "what the killed process left is cleaned up"


def test_two_valid_checkpoints_exist_at_every_moment_after_the_second_save(tmp_path, monkeypatch) -> None:
    seen: list[int] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        folder = Path(target).parent
        if folder.name == "checkpoints":
            seen.append(len({read_record(p).step for p in folder.glob("*.ckpt")}))
            result = replace(self, target)
            seen.append(len({read_record(p).step for p in folder.glob("*.ckpt")}))
            return result
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    main(["fit", *TINY, "--epochs=2", "--checkpoint_every=3", f"--trainer.default_root_dir={tmp_path}"])
    first_two = next(i for i, count in enumerate(seen) if count >= 2)
    assert len(seen) > first_two + 6
    assert min(seen[first_two:]) >= 2


def test_a_checkpoint_that_plain_loading_would_refuse_is_not_kept(tmp_path) -> None:
    path = tmp_path / "last.ckpt"
    io = AtomicCheckpointIO()
    io.save_checkpoint({"weights": torch.zeros(2)}, path)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"cannot keep the checkpoint .*Python objects"):
        io.save_checkpoint({"path": Path("x")}, path)
    assert path.read_bytes() == before


def test_two_processes_cannot_train_in_one_run_folder(stopped, tmp_path, fails) -> None:
    root = Path(shutil.copytree(stopped, tmp_path / "root"))
    with (last(root).parent.parent / ".lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        error = fails("fit", "--resume", f"--trainer.default_root_dir={root}")
    assert "is being trained by another process (process" in error
