from __future__ import annotations

import shlex
import socket

import pytest

from lit_cnn.cli import model_advice
from lit_cnn.cli.commands.models import main as models
from lit_cnn.cli.main import main
from lit_cnn.inspection import model_table
from tests.conftest import write_pictures

KNOWN = {name for package in (model_table.OWN, "torchvision") for name in model_table.read_figures(package).figures}


def advice(capsys, *words):
    models(["models", "--for", *words])
    out = capsys.readouterr().out
    return out, [shlex.split(line) for line in out.splitlines() if line.startswith("   lit-cnn ")]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("cores", [2, 16])
@pytest.mark.parametrize("data", model_advice.DATASETS)
def test_every_data_set_gets_three_models_that_exist(data, cores, cached, monkeypatch, capsys):
    monkeypatch.setattr(model_advice, "num_cores", lambda: cores)
    monkeypatch.setattr(model_advice, "is_cached", lambda backbone: cached)
    out, commands = advice(capsys, data)
    assert len(commands) == 3
    names = [command[command.index("--backbone") + 1] for command in commands]
    assert len(set(names)) == 3 <= len(KNOWN.intersection(names))
    photos = data == "Flowers"
    assert [("imagenet" in command) for command in commands] == [photos and cached] * 3
    assert ("Pretrained weights help" in out) == (photos and not cached)
    assert out.count("ImageNet top-1") == (3 if photos and cached else 0)


@pytest.mark.parametrize(
    ("word", "name"),
    [("cifar", "CIFAR10"), ("cifar-10", "CIFAR10"), ("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")],
)
def test_a_data_set_is_found_in_other_spellings(word, name):
    assert model_advice.image_set(word).text == name


@pytest.mark.parametrize("word", ["phone", "CIFAR100", "", "no/such/folder"])
def test_what_is_no_data_set_and_no_folder_is_one_line(word, fails):
    assert "no such folder or data set" in fails("models", "--for", word)


def test_a_pattern_beside_it_is_refused(fails):
    assert "leave 'resnet*' out" in fails("models", "resnet*", "--for", "CIFAR10")


@pytest.mark.parametrize(("size", "first"), [(30, "resnet20"), (90, "torchvision/mobilenet_v3_small")])
def test_a_folder_is_counted_and_its_commands_run(size, first, workdir, monkeypatch, capsys):
    monkeypatch.setattr(model_advice, "is_cached", lambda backbone: False)
    for name in ("cat", "dog"):
        write_pictures(workdir / "my photos" / name, 8, size=size)
    out, commands = advice(capsys, "my photos")
    assert f"my photos: 16 colour images of about {size} pixels in 2 classes" in out
    assert commands[0][commands[0].index("--backbone") + 1] == first
    for command in commands[: 1 if size > 64 else 3]:
        main([*command[1:], "--trainer.fast_dev_run=true", "--batch-size=4"])


def test_a_folder_without_classes_is_one_line(workdir, fails):
    write_pictures(workdir / "flat", 3)
    assert "flat" in fails("models", "--for", "flat")


def test_weights_count_only_where_they_are_cached_and_the_network_is_not_asked(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not model_advice.is_cached("torchvision/efficientnet_b0")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "efficientnet_b0_rwightman-7f5810bc.pth").touch()
    assert model_advice.is_cached("torchvision/efficientnet_b0")
    assert not model_advice.is_cached("resnet18")
