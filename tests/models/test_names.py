from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lit_cnn.errors import UserError
from lit_cnn.models import MODELS, get_model, list_models, model_arguments


def test_unknown_model_names_the_nearest_and_how_to_list() -> None:
    with pytest.raises(
        UserError, match=r"unknown model 'resnet81', did you mean .*'resnet18'.*lit-cnn models"
    ) as error:
        get_model("resnet81")
    assert "\n" not in str(error.value)


def test_unknown_argument_names_the_valid_ones_and_the_nearest() -> None:
    with pytest.raises(UserError, match=r"resnet18 has no argument 'stme', did you mean 'stem'\?.*shortcut") as error:
        get_model("resnet18", stme="cifar")
    assert "block" not in str(error.value).split("Its arguments are")[1]  # the architecture is no argument


def test_list_models_takes_shell_patterns_and_plain_words() -> None:
    assert list_models("vgg1*_cifar") == [f"vgg{n}_cifar" for n in (11, 13, 16, 19)]
    assert list_models("googlen") == ["googlenet", "googlenet_bn", "googlenet_d2l"]
    assert list_models("googlenet") == ["googlenet"]
    assert list_models() == list(MODELS)
    assert list_models("no such") == []


def test_model_arguments_leave_out_what_the_data_decides() -> None:
    own = ["aux_heads", "batch_norm", "dropout", "aux_dropout", "pool", "stem_relu", "init"]
    assert model_arguments("googlenet") == [*own, "conv"]
    assert "stages" not in model_arguments("vgg16")
    assert not {"num_classes", "in_channels"} & set(model_arguments("torchvision/resnet18"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.task != "restoration"])
def test_every_classifier_maps_images_to_logits_for_its_classes_and_channels(name: str) -> None:
    row = MODELS[name]
    with torch.device("meta"):
        model = get_model(name, num_classes=13, in_channels=4)
        x = torch.empty(2, 4, row.image_size, row.image_size)
        out = model.train()(x)
        assert model.eval()(x).shape == (2, 13)
    assert all(logits.shape == (2, 13) for logits in (out if isinstance(out, tuple) else (out,)))


def test_every_row_cites_its_source() -> None:
    for name, row in MODELS.items():
        assert 1990 < row.year < 2030, name
        assert row.paper, name
        assert row.parameters is not None, name
        assert row.source, name


def test_the_package_imports_neither_lightning_nor_torchvision_nor_timm() -> None:
    code = "import sys, lit_cnn.models as m; m.get_model('lenet'); m.list_models(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"lightning", "pytorch_lightning", "torchvision", "timm", "lit_cnn.data"} & set(loaded)
