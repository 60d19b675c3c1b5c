"""Settings of a run on a folder that the user leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from lit_cnn.cli.main import main
from tests.cli.helpers import QUIET


@pytest.fixture
def photos(workdir: Path) -> str:
    for name in ("cat", "dog"):
        (workdir / "photos" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (20, 20), 12 * number + 60 * (name == "dog")).save(f"photos/{name}/{number}.png")
    return "photos"


def settings(*words: str) -> dict[str, Any]:
    main(["fit", *words, "--trainer.limit_train_batches=1", QUIET])
    runs = sorted(Path("lightning_logs").glob("version_*"), key=lambda path: int(path.name.partition("_")[2]))
    return yaml.safe_load((runs[-1] / "config.yaml").read_text())


def test_they_follow_from_the_images_and_are_shown_with_their_source(
    photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = settings(photos, "--epochs=1")
    assert (found["model"]["optimizer"], found["model"]["lr"]) == ("adamw", 0.001)
    assert (found["data"]["init_args"]["channels"], found["data"]["init_args"]["image_size"]) == (1, 32)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "model.optimizer sgd adamw the images" in lines
    assert "trainer.max_epochs 10 1 flag" in lines


@pytest.mark.parametrize("words", [["--data", "photos"], ["--data-dir", "photos"], ["photos"]])
def test_every_way_to_name_the_folder_has_them(photos: str, words: list[str]) -> None:
    assert settings(*words, "--epochs=1")["model"]["backbone"] == "resnet20"


def test_a_config_is_an_experiment_of_its_own(photos: str) -> None:
    Path("my.yaml").write_text("epochs: 1\n")
    found = settings(photos, "--config=my.yaml", "--model.backbone=lenet", "--img-size=28")
    assert (found["model"]["optimizer"], found["model"]["lr"]) == ("sgd", 0.1)


def test_a_resumed_run_keeps_its_settings(photos: str) -> None:
    before = settings(photos, "--epochs=1", "--lr=0.002")
    after = settings("--resume", "--epochs=2")
    assert after["model"] == before["model"]
    chosen = ("image_size", "channels", "batch_size", "augment", "cache")
    parts = [run["data"]["init_args"] for run in (before, after)]
    assert [parts[1][name] for name in chosen] == [parts[0][name] for name in chosen]


def test_a_network_with_one_input_size_has_it(photos: str) -> None:
    found = settings(photos, "--epochs=1", "--model.backbone=mnist_cnn")
    assert found["data"]["init_args"]["image_size"] == 28


def test_a_network_that_asserts_another_size_than_the_given_one_is_one_line(photos: str, fails: Any) -> None:
    said = fails("fit", photos, "--img-size=32", "--model.backbone=timm/vit_tiny_patch16_224", "--epochs=1")
    assert "224x224" in said


@pytest.mark.parametrize(("optimizer", "lr"), [("adamw", 0.001), ("rmsprop", 0.01), ("sgd", 0.1)])
def test_an_optimizer_has_its_own_learning_rate(workdir: Path, optimizer: str, lr: float) -> None:
    words = ["--data=Digits", "--epochs=1", "--model.backbone=lenet", "--wd=0", f"--optimizer={optimizer}"]
    assert settings(*words)["model"]["lr"] == lr
