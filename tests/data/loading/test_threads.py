"""``--data.workers auto``: what is chosen from what was measured, once, and that results stay the same."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lit_cnn.cli.main import main
from lit_cnn.data import Digits, ImageFolder
from lit_cnn.data.loading import threads
from lit_cnn.errors import UserError
from lit_cnn.utils.cpu import num_cores
from tests.conftest import state_differences, write_pictures

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("most", "tried"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12]), (64, [1, 2, 4, 8, 16])],
)
def test_candidates_are_powers_of_two_and_all_cores_up_to_sixteen(most: int, tried: list[int]) -> None:
    assert threads.candidates(most) == tried


def test_the_fewest_threads_that_are_nearly_the_fastest_are_chosen() -> None:
    assert threads.fewest_threads({1: 100.0, 2: 190.0, 4: 260.0, 8: 270.0}) == 4
    assert threads.fewest_threads({1: 100.0, 2: 96.0}) == 1
    assert threads.fewest_threads({1: 100.0, 2: 106.0}) == 2


def test_speed_counts_the_images_of_all_threads_and_reports_a_threads_error() -> None:
    meeting = threading.Barrier(3, timeout=30)
    images = threads.speed(itertools.repeat((lambda: meeting.wait() and None, 2.5)), threads=3, seconds=0)
    assert images > 0  # each thread waited for the two others

    def broken() -> None:
        raise UserError("cannot read image x.jpg")

    with pytest.raises(UserError, match=r"x\.jpg"):
        threads.speed([(broken, 1.0)], threads=2, seconds=0)


def test_no_images_are_no_reason_to_fail() -> None:
    source = Digits()
    source.setup("fit")
    part = source.splits()["train"]
    assert threads.benchmark_threads(part.source, part.indices[:0], 8, 0, 2)[0] == 1


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of threads in the order they were measured; 2 are as good as 4, on four cores."""
    asked: list[int] = []

    def speed(tasks: object, number: int, seconds: float) -> float:
        asked.append(number)
        return {1: 100.0, 2: 180.0, 4: 185.0}[number]

    monkeypatch.setattr(threads, "speed", speed)
    monkeypatch.setattr("lit_cnn.data.datamodule.num_cores", lambda processes: 4 // processes)
    return asked


def test_auto_measures_once_for_all_loaders_and_says_so_once(
    make_folder: Make, tried: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({"train/a": 9, "train/b": 9, "test/a": 2, "test/b": 2})
    data = ImageFolder(data_dir=str(root), image_size=16, batch_size=4, workers="auto")
    data.setup("fit")
    data.setup("test")
    assert tried == []  # nobody has asked for batches yet
    loaders = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader(), data.train_dataloader()]
    assert [loader.workers for loader in loaders] == [2, 2, 2, 2]
    assert tried == [1, 2, 4] * threads.REPEATS
    assert (
        capsys.readouterr().out == "workers auto: 2 (images per second by number of threads: 1: 100, 2: 180, 4: 185)\n"
    )


def test_sets_in_memory_have_nothing_to_measure(tried: list[int]) -> None:
    data = Digits(workers="auto")
    data.setup("fit")
    assert data.train_dataloader().workers == 0
    assert tried == []


def test_a_real_measurement_chooses_one_of_the_candidates(make_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "SECONDS", 0.01)
    root = make_folder({"train/a": 5, "train/b": 5})
    data = ImageFolder(data_dir=str(root), image_size=16, batch_size=4, workers="auto")
    data.setup("fit")
    assert data.train_dataloader().workers in threads.candidates(num_cores(1))


def test_runs_with_auto_equal_those_with_any_number_and_resume_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threads, "SECONDS", 0.01)
    for number, name in enumerate(("a", "b")):
        write_pictures(tmp_path / "set" / name, 12, seed=number)
    run = ["fit", "--data=ImageFolder", "--data-dir=set", "--img-size=32", "-b=4", "--model.backbone=lenet_color"]
    run += ["--trainer.enable_progress_bar=false"]
    main([*run, "-j=auto", "--epochs=1", "--trainer.default_root_dir=auto"])
    assert capsys.readouterr().out.count("workers auto: ") == 1
    auto, given = (Path(root) / "lightning_logs" / "version_0" for root in ("auto", "given"))
    main(["fit", "--resume", str(auto), "--epochs=2", "--workers=1"])
    main([*run, "-j=2", "--epochs=1", "--trainer.default_root_dir=given"])
    main(["fit", "--resume", str(given), "--epochs=2", "--workers=auto"])
    assert state_differences(auto / "checkpoints" / "last.ckpt", given / "checkpoints" / "last.ckpt") == []
    first = torch.load(given / "checkpoints" / "last.ckpt", weights_only=True)
    assert first["lit_cnn"]["config"]["data"]["init_args"]["workers"] == "auto"


def test_images_in_memory_need_no_threads_and_that_is_printed_once(capsys):
    data = Digits(workers="auto")
    assert data.train_dataloader().workers == data.val_dataloader().workers == 0
    assert capsys.readouterr().out.count("workers auto: ") == 1
