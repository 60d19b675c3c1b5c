from pathlib import Path

import pytest

from lit_cnn.errors import UserError
from lit_cnn.run_folder import find_checkpoint, new_run_folder, new_subfolder, run_folder_of, run_folders


def checkpoint(root: Path, version: int, name: str) -> Path:
    path = root / "lightning_logs" / f"version_{version}" / "checkpoints" / f"{name}.ckpt"
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
