from __future__ import annotations

import sys
import warnings

import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import find_head, get_model, list_models, model_arguments


@pytest.mark.parametrize("name", ["torchvision/googlenet", "torchvision/inception_v3"])
def test_torchvisions_auxiliary_models_work_unchanged_and_without_warnings(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = get_model(name, num_classes=7)
    size = 299 if "inception" in name else 64
    out = model.train()(torch.zeros(2, 3, size, size))
    assert isinstance(out, tuple)
    assert all(logits.shape == (2, 7) for logits in out)
    assert model.eval()(torch.zeros(1, 3, size, size)).shape == (1, 7)
    assert model.transform_input


@pytest.mark.parametrize(
    "name", ["torchvision/resnet18", "torchvision/squeezenet1_1", "torchvision/mobilenet_v3_small"]
)
@pytest.mark.parametrize("channels", [1, 4])
def test_the_first_layer_takes_other_channels_with_weights_of_the_same_spread(name: str, channels: int) -> None:
    torch.manual_seed(0)
    model = get_model(name, num_classes=7, in_channels=channels).eval()
    assert model(torch.zeros(1, channels, 64, 64)).shape == (1, 7)
    assert find_head(model, 7)
    first = [next(m for m in net.modules() if isinstance(m, nn.Conv2d)) for net in (model, get_model(name))]
    assert first[0].stride == first[1].stride
    assert first[0].padding == first[1].padding
    assert (first[0].bias is None) == (first[1].bias is None)
    assert first[0].weight.std().item() == pytest.approx(first[1].weight.std().item(), rel=0.15)


def test_timm_models_take_classes_and_channels() -> None:
    model = get_model("timm/resnet18", num_classes=7, in_channels=1, drop_rate=0.2).eval()
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 7)
    assert find_head(model, 7) == "fc"
    assert "drop_rate" in model_arguments("timm/resnet18")


def test_unknown_names_and_arguments_name_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown model 'torchvision/resnet19', did you mean 'torchvision/resnet1"):
        get_model("torchvision/resnet19")
    with pytest.raises(UserError, match="unknown model 'timm/resnet19', did you mean 'timm/resnet1"):
        get_model("timm/resnet19")
    with pytest.raises(UserError, match="torchvision/resnet18 has no argument 'group', did you mean 'groups'"):
        get_model("torchvision/resnet18", group=2)
    with pytest.raises(UserError, match=r"timm/resnet18 cannot be built with foo=1: .*unexpected keyword") as error:
        get_model("timm/resnet18", foo=1)
    assert "\n" not in str(error.value)


def test_other_zoos_are_listed_on_demand_and_only_classifiers_of_torchvision() -> None:
    names = list_models("torchvision/*")
    assert "torchvision/resnet18" in names
    assert not [name for name in names if "rcnn" in name or "deeplab" in name]
    assert "timm/resnet18" in list_models("timm/resnet1*")


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'lit-cnn\[timm\]'"):
        get_model("timm/resnet18")
