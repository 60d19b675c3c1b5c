"""As many epochs as fit into a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lit_cnn.cli import budget
from lit_cnn.cli.argv import parse
from lit_cnn.cli.budget import LEAST, MOST, WHOLE, Cost
from lit_cnn.cli.main import main
from tests.cli.helpers import QUIET, rows

COST = Cost(setup=1.5, end=0.5, step=0.1, between=1.0, steps=20, images=16, size=96, photos=True)  # 3 s an epoch


def seconds(flags: dict[str, str], cost: Cost) -> float:
    epochs = int(flags["--trainer.max_epochs"])
    return epochs * (int(flags.get("--trainer.limit_train_batches", cost.steps)) * cost.step + cost.between)


@pytest.mark.parametrize("given", [5.0, 10.0, 17.0, 35.0, 60.0, 100.0, 150.0, 400.0])
def test_a_run_fills_its_time_to_5_percent_and_never_exceeds_it(given: float) -> None:
    cost = COST._replace(step=0.01, steps=200)
    assert 0.95 * given <= seconds(budget._length(cost, given, ""), cost) <= given


def test_many_epochs_are_whole_and_have_an_end() -> None:
    assert budget._length(COST, 3.0 * WHOLE + 1, "") == {"--trainer.max_epochs": str(WHOLE)}
    assert budget._length(COST, 1e6, "") == {"--trainer.max_epochs": str(MOST)}


def test_no_time_for_a_step_is_refused_with_what_takes_it() -> None:
    with pytest.raises(budget.UserError, match=r"--budget 1s is too short: .* take 3 s and a step 0.1 s"):
        budget._length(COST, 1.0, "1s")


def test_what_follows_the_last_epoch_takes_its_part_of_the_time() -> None:
    watch = budget.Stopwatch(1.0)
    watch._created, watch._ready, watch._last = 10.0, 11.0, 15.0
    watch._steps, watch._between = [0.1], [0.5]
    watch._found = {"steps": 20, "images": 16, "size": 96, "photos": False}
    cost = watch.cost(ended=18.0)
    assert (cost.setup, cost.between, cost.end) == (1.0, 0.5, 2.5)


def test_photos_are_smaller_where_there_is_little_time_and_larger_where_there_is_much() -> None:
    assert budget._size(COST, 3 * LEAST + 3) == 96
    assert budget._size(COST, 20.0) == 64
    assert budget._size(COST, 2000.0) == 224


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--budget=10m", "--epochs=3"], "--budget decides how long the run is, and so does --trainer.max_epochs"),
        (["--budget=soon"], "90s, 5m, 1h30m"),
        (["--budget=10m", "--trainer.devices=2"], "--budget measures a run on one device"),
        (["--budget"], "--budget needs a value"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], line: str, workdir: Path, fails: Callable[..., str]) -> None:
    assert line in fails("fit", "--data=Digits", *words)


def test_an_evaluation_has_no_budget(trained: Path, workdir: Path, fails: Callable[..., str]) -> None:
    assert "--budget is for new runs" in fails("test", f"--ckpt_path={trained}", "--budget=10m")


@pytest.mark.parametrize(
    "words",
    [["fit", "my photos", "--budget", "5m", "--lr=0.1"], ["fit", "--budget=5m", "my photos", "--lr=0.1"]],
)
def test_the_printed_command_is_the_typed_one_with_the_flags(words: list[str]) -> None:
    own = {"--trainer.max_epochs": "7", "--data.image_size": "64", "--trainer.limit_train_batches": "9"}
    again = budget._again(parse(words), own)
    assert again == "lit-cnn fit 'my photos' --lr=0.1 --epochs 7 --img-size 64 --trainer.limit_train_batches 9"


def test_the_printed_command_repeats_the_run_exactly(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for number in range(20):
            Image.new("L", (20, 20), 5 * number + 60 * (name == "dog")).save(f"photos/{name}/{number}.png")
    main(["fit", "photos", "--budget", "9s", "--model.backbone=lenet", QUIET])
    lines = capsys.readouterr().out.splitlines()
    again = next(line for line in lines if line.startswith("the same run again: ")).partition(": lit-cnn ")[2]
    main(again.split())
    first, second = (Path("lightning_logs", f"version_{n}") for n in range(2))
    assert sorted(path.name for path in Path("lightning_logs").iterdir() if path.is_dir()) == ["version_0", "version_1"]
    assert rows(first / "metrics.csv") == rows(second / "metrics.csv")
    assert yaml.safe_load((first / "config.yaml").read_text()) == yaml.safe_load((second / "config.yaml").read_text())
