import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lit_cnn.checkpoint.find import find_checkpoint
from lit_cnn.errors import UserError
from lit_cnn.run_folder import (
    discard,
    is_locked,
    lock,
    new_run_folder,
    new_subfolder,
    newest_run,
    run_folder_of,
    run_folders,
    unlock,
    write_start,
)


def checkpoint(root: Path, version: int | str, name: str) -> Path:
    run = f"version_{version}" if isinstance(version, int) else version
    path = root / "lightning_logs" / run / "checkpoints" / f"{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_run_folders_are_numbered_on_and_sorted_as_numbers(tmp_path):
    for number in (2, 10, 9):
        (tmp_path / "lightning_logs" / f"version_{number}").mkdir(parents=True)
    (tmp_path / "lightning_logs" / "version_x").mkdir()
    assert [p.name for p in run_folders(tmp_path)] == ["version_2", "version_9", "version_10"]
    assert new_run_folder(tmp_path).name == "version_11"


def test_best_and_last_mean_those_of_the_newest_run_that_has_one(tmp_path):
    best, last = checkpoint(tmp_path, 9, "best"), checkpoint(tmp_path, 10, "last")
    checkpoint(tmp_path, 2, "best")
    (tmp_path / "lightning_logs" / "version_11").mkdir()  # nothing saved: not a run to resume
    assert find_checkpoint("last", tmp_path, "best") == last
    assert find_checkpoint("", tmp_path, "last") == last
    with pytest.raises(UserError, match=r"the newest run has no best.ckpt; it has: .*version_10/checkpoints/last.ckpt"):
        find_checkpoint("best", tmp_path, "last")
    last.unlink()
    assert find_checkpoint("best", tmp_path, "last") == best


def test_a_run_folder_or_its_checkpoints_folder_stands_for_its_checkpoint(tmp_path):
    path = checkpoint(tmp_path, 0, "best")
    assert find_checkpoint(str(path.parent.parent), tmp_path, "best") == path
    assert find_checkpoint(str(path.parent), tmp_path, "best") == path
    assert run_folder_of(path) == path.parent.parent
    assert run_folder_of(tmp_path / "best.ckpt") is None
    with pytest.raises(UserError, match=r"holds no checkpoints/last.ckpt"):
        find_checkpoint(str(path.parent.parent), tmp_path, "last")


def test_a_missing_checkpoint_names_those_beside_it(tmp_path):
    checkpoint(tmp_path, 0, "best")
    with pytest.raises(UserError, match=r"no checkpoint at .*bst.ckpt: there are: .*best.ckpt"):
        find_checkpoint(str(tmp_path / "lightning_logs/version_0/checkpoints/bst.ckpt"), tmp_path, "best")
    with pytest.raises(UserError, match="train first"):
        find_checkpoint("best", tmp_path / "elsewhere", "best")


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "lightning_logs").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="cannot write the run folder"):
        new_run_folder(tmp_path)


def test_results_never_overwrite_earlier_ones(tmp_path):
    assert [new_subfolder(tmp_path, "test").name for _ in range(3)] == ["test", "test_2", "test_3"]


def started(root: Path, name: str | None = None) -> Path:
    run = new_run_folder(root, name)
    write_start(run)
    return run


def test_a_second_run_of_a_name_gets_a_number(tmp_path):
    assert [new_run_folder(tmp_path, "a").name for _ in range(3)] == ["a", "a_2", "a_3"]
    assert new_run_folder(tmp_path).name == "version_0"


def test_the_newest_run_is_the_one_started_last(tmp_path, monkeypatch):
    clock = [1e9]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    first = started(tmp_path)
    clock[0] -= 3600  # set back
    second, third = started(tmp_path, "zebra"), started(tmp_path, "apple")
    fourth = started(tmp_path)
    assert run_folders(tmp_path) == [first, second, third, fourth]
    for run in (second, first, fourth):  # equal and wrong times of the files do not matter, nor copies
        (run / "config.yaml").touch()
    shutil.copytree(fourth, fourth.with_name("version_9"))
    shutil.copytree(fourth, fourth.with_name("a_copy"))
    assert newest_run(tmp_path) == fourth
    checkpoint(tmp_path, 10, "last")  # of a version without run.json: older, whatever its number
    assert newest_run(tmp_path) == fourth
    assert started(tmp_path).name == "version_11"


def test_runs_of_versions_without_a_start_are_in_the_order_of_their_numbers(tmp_path):
    for version in (9, 10, 2, "renamed"):
        checkpoint(tmp_path, version, "last")
    (tmp_path / "lightning_logs" / "inspect").mkdir()  # plots, no run
    assert [run.name for run in run_folders(tmp_path)] == ["renamed", "version_2", "version_9", "version_10"]
    assert newest_run(tmp_path).name == "version_10"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("version_1", "version_1/checkpoints/best.ckpt"),
        ("version_10", "version_10/checkpoints/best.ckpt"),
        ("base", "baseline/checkpoints/best.ckpt"),
        ("baseline/last", "baseline/checkpoints/last.ckpt"),
        ("base/last.ckpt", "baseline/checkpoints/last.ckpt"),
        ("baseline/checkpoints/last", "baseline/checkpoints/last.ckpt"),
        ("lightning_logs/base", "baseline/checkpoints/best.ckpt"),
        ("lightning_logs/baseline/last", "baseline/checkpoints/last.ckpt"),
        ("lightning_logs/version_1", "version_1/checkpoints/best.ckpt"),
        ("lightning_logs", "version_10/checkpoints/best.ckpt"),
        (".", "version_10/checkpoints/best.ckpt"),
        ("./best", "version_10/checkpoints/best.ckpt"),
    ],
)
def test_a_run_is_found_by_its_name_or_the_beginning_of_one(wanted, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in (1, 10, "baseline", "lr-0.1", "lr-0.2"):
        for name in ("best", "last"):
            checkpoint(tmp_path, run, name)
    assert find_checkpoint(wanted, Path(), "best") == Path("lightning_logs", found)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("lr", "'lr' could be any of lr-0.1, lr-0.2: give more of the name"),
        ("version_", "'version_' could be any of version_1, version_10: give more of the name"),
        ("lightning_logs/lr", "could be any of lr-0.1, lr-0.2"),
        ("lr/last", "'lr' could be any of"),
        ("basline", "no run, folder or checkpoint 'basline', did you mean 'baseline'?"),
        ("nothing", "no run, folder or checkpoint 'nothing': the newest runs are lr-0.2, version_1, version_10"),
        ("version_3.ckpt", "no checkpoint at version_3.ckpt: there are: lightning_logs/lr-0.2/checkpoints"),
        ("baseline/previous", "lightning_logs/baseline holds no checkpoints/previous.ckpt; it has: .*best.ckpt"),
        ("..", "no checkpoints/best.ckpt"),
        ("x" * 300, "no checkpoint at xxx.*: File name too long"),
    ],
)
def test_an_ambiguous_or_unknown_name_is_one_line(wanted, message, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for run in (1, 10, "baseline", "lr-0.1", "lr-0.2"):
        checkpoint(Path(), run, "best")
    with pytest.raises(UserError, match=message) as error:
        find_checkpoint(wanted, Path(), "best")
    assert "\n" not in str(error.value)


def test_a_folder_with_a_checkpoint_wins_over_a_run_of_its_name_and_one_without_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = checkpoint(Path(), "photos", "best")
    Path("photos").mkdir()
    assert find_checkpoint("photos", Path(), "best") == run
    Path("photos/best.ckpt").touch()
    assert find_checkpoint("photos", Path(), "best") == Path("photos/best.ckpt")


def test_discarding_a_new_run_removes_all_folders_made_for_it(tmp_path):
    run = new_run_folder(tmp_path / "a" / "b")
    lock(run)
    discard(run)
    assert list(tmp_path.iterdir()) == []
    kept, new = new_run_folder(tmp_path), new_run_folder(tmp_path)
    unlock(kept)  # it has ended
    discard(kept)
    discard(new)
    assert [run.name for run in run_folders(tmp_path)] == ["version_0"]


def test_a_lock_is_seen_by_other_processes_and_leaves_no_owner_behind(tmp_path):
    run = new_run_folder(tmp_path)
    look = f"from pathlib import Path; from lit_cnn.run_folder import is_locked; print(is_locked(Path({str(run)!r})))"

    def seen() -> str:
        return subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.strip()

    assert is_locked(run) is False
    lock(run)
    assert is_locked(run) is True
    assert seen() == "True"
    unlock(run)
    assert seen() == "False"
    assert not (run / ".lock_owner").exists()


def test_a_link_to_nowhere_instead_of_the_logs_is_one_line(tmp_path):
    (tmp_path / "lightning_logs").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="cannot write the run folder"):
        new_run_folder(tmp_path)
