"""Every shipped experiment trains, tests and predicts, on small data made here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from torch import Tensor, nn

from lit_cnn.cli.main import main
from lit_cnn.data import CIFAR10, MNIST, FashionMNIST
from lit_cnn.models import MODELS, get_model

from .conftest import mostly_slow, write_pairs, write_pictures

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
# From course notes: they are of the same kinds as the others, so that their runs are among the slow tests.
NOTES = [
    "alexnet_flowers", "alexnet_vehicles", "convnet_cifar", "dilated_cifar", "handconv_cifar",
    "lenet_d2l_fashion_mnist", "mlp_vehicles", "mnist_cnn_rmsprop", "plain18_cifar", "residual_mse_cifar",
    "vgg_flowers",
]  # fmt: skip
RUN_ALWAYS = [path for path in CONFIGS if path.stem not in NOTES]
# What a run of seconds needs; everything else is as shipped.
SMALL = [
    "--epochs=1",
    "--trainer.check_val_every_n_epoch=1",  # one epoch has no fourth
    "--batch-size=8",
    "--trainer.enable_progress_bar=false",
]
IN_MEMORY = {
    "CIFAR10": (CIFAR10, (3, 32, 32)),
    "FashionMNIST": (FashionMNIST, (1, 28, 28)),
    "MNIST": (MNIST, (1, 28, 28)),
}


@pytest.fixture
def data(request: pytest.FixtureRequest, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags that point a config at data of its kind."""
    name = yaml.safe_load(request.getfixturevalue("config").read_text())["data"]["class_path"]
    if name in IN_MEMORY:
        cls, shape = IN_MEMORY[name]

        def read(self: object, part: str) -> tuple[torch.Tensor, torch.Tensor]:
            generator = torch.Generator().manual_seed(len(part))
            images = torch.randint(0, 256, (30, *shape), dtype=torch.uint8, generator=generator)
            return images, torch.arange(30) % 10

        monkeypatch.setattr(cls, "read", read)  # the files' own reading is tested with the data package
        return ["--data.val_fraction=0.2"]
    if name == "Flowers":
        for seed, label in enumerate(("daisy", "dandelion", "roses", "sunflowers", "tulips")):
            write_pictures(workdir / "flower_photos" / label, 5, seed, size=120)
        return ["--data-dir=.", "--img-size=96"]
    if name == "DehazePairs":
        write_pairs(workdir / "pairs", 8)
        return ["--data-dir=pairs", "--img-size=16"]
    if name == "Vehicles":
        for seed, label in enumerate(("bus", "car", "truck")):
            write_pictures(workdir / "vehicles" / label, 6, seed, size=120)
        return ["--data-dir=vehicles", "--img-size=64"]
    return ["--data.test_fraction=0.1", "--batch-size=256"]  # Digits


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_no_config_asks_for_a_precision_that_a_cpu_may_be_slow_in(config):
    assert yaml.safe_load(config.read_text())["trainer"].get("precision", "32-true") in ("auto", "32-true")


class OneConvolution(nn.Module):
    """As little of a network as can stand in for those of the configs: one convolution and one dense layer."""

    __module__ = "lit_cnn.models"  # else it would be a plug-in, which --allow_import must name

    def __init__(self, num_classes: int = 10, in_channels: int = 3, **arguments: Any):
        super().__init__()
        self.whiten = nn.Conv2d(in_channels, 4, 3, stride=4)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.whiten(x).relu().amax((2, 3)))


@pytest.fixture
def tiny(config: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The config's network is replaced by a tiny one, its published weights by a local file."""
    model = yaml.safe_load(config.read_text())["model"]
    if MODELS[model["backbone"]].task == "restoration":  # on images of 16 pixels these are small enough
        return []
    monkeypatch.setitem(
        MODELS, model["backbone"], dataclasses.replace(MODELS[model["backbone"]], factory=OneConvolution)
    )
    return local_weights(model, OneConvolution())


def local_weights(model: dict[str, Any], network: nn.Module) -> list[str]:
    """Flags for a config that starts from published weights: a file of those of ``network`` instead."""
    if "weights" not in model:
        return []
    torch.save(network.state_dict(), "weights.pth")
    return ["--model.weights=weights.pth"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_settings_and_arguments_of_the_network_are_accepted(config, workdir, capsys):
    content = yaml.safe_load(config.read_text())
    arguments = content["model"].get("backbone_args", {})
    with torch.device("meta"):
        name = content["model"]["backbone"]
        get_model(name, 3 if MODELS[name].task == "restoration" else 10, 3, **arguments)
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", str(config), "--print_config"])
    assert end.value.code in (None, 0)
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["model"]["backbone_args"] or {}) == arguments


@pytest.mark.parametrize("config", mostly_slow(CONFIGS, *RUN_ALWAYS), ids=lambda path: path.stem)
def test_config_trains_tests_and_predicts(config, data, tiny, workdir):
    run_config(config, [*data, *tiny], workdir)


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config_trains_tests_and_predicts_with_its_own_network(config, data, workdir):
    model = yaml.safe_load(config.read_text())["model"]
    weights = local_weights(model, torchvision.models.get_model(model["backbone"])) if "weights" in model else []
    run_config(config, [*data, *weights], workdir)


def run_config(config: Path, words: list[str], workdir: Path) -> None:
    """Train, test and predict."""
    main(["fit", "--config", str(config), *SMALL, *words])
    run = workdir / "lightning_logs" / "version_0"
    main(["test", "--ckpt_path=best", "--trainer.enable_progress_bar=false"])
    metrics = json.loads((run / "test" / "metrics.json").read_text())
    assert 0 <= metrics.get("test/acc", metrics.get("test/ssim")) <= 1
    write_pictures(workdir / "photos", 2, size=120)
    main(["predict", "--ckpt_path=best", "photos", "--trainer.enable_progress_bar=false"])
    assert len((run / "predict" / "predictions.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("config", [path for path in CONFIGS if path.stem == "resnet18_cifar"], ids=lambda p: p.stem)
def test_cifar_configs_also_take_the_images_as_a_folder(config, tiny, workdir):
    for split in ("train", "test"):
        for seed, label in enumerate(CIFAR10.CLASSES):
            write_pictures(workdir / "cifar" / split / label, 4, seed, size=32)
    main(["fit", "--config", str(config), "--data=ImageFolder", "--data-dir=cifar", "--data.val_fraction=0.3", *SMALL])
    content = torch.load("lightning_logs/version_0/checkpoints/best.ckpt", weights_only=True)["lit_cnn"]
    assert content["preprocessing"]["image_size"] == 32
    augment = content["config"]["data"]["init_args"]["augment"]
    assert (augment["crop_scale"], augment["crop_padding"]) == (None, 4)
