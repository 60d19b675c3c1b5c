from __future__ import annotations

import copy
import pickle
import sys
import warnings

import pytest
import timm
import torch
import torchvision.models
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


@pytest.mark.parametrize(
    ("name", "size", "line"),
    [
        ("torchvision/squeezenet1_1", 16, "SqueezeNet cannot take 16x16 images; the smallest size that works is 17x17"),
        ("timm/vit_tiny_patch16_224", 64, "VisionTransformer cannot take 64x64 images; the smallest .* is 224x224"),
    ],
)
def test_a_wrong_size_gets_the_same_one_line_as_with_our_own_networks(name: str, size: int, line: str) -> None:
    model = get_model(name, num_classes=2)
    with pytest.raises(UserError, match=line):
        model(torch.zeros(2, 3, size, size))


@pytest.mark.parametrize("name", ["torchvision/resnet18", "torchvision/googlenet", "timm/resnet18"])
def test_a_wrong_number_of_channels_gets_one_line_too(name: str) -> None:
    with pytest.raises(UserError, match=r"was built for 3 input channels, got 1: set `data.channels=3`$"):
        get_model(name, num_classes=2)(torch.zeros(2, 1, 64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision/squeezenet1_1", "timm/mobilenetv3_small_050"])
def test_models_with_input_errors_of_one_line_are_still_the_zoos_own(name: str) -> None:
    torch.manual_seed(0)
    model, x = get_model(name, num_classes=3).eval(), torch.randn(2, 3, 32, 32)
    zoo, short = name.split("/")
    own = (torchvision.models.get_model if zoo == "torchvision" else timm.create_model)(short, num_classes=3)
    assert type(model) is type(own)
    own.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        expected = own.eval()(x)
        assert torch.equal(model(x), expected)
        for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(copied(x), expected)
            nn.init.zeros_(next(copied.parameters()))  # a copy computes with its own weights
            assert not torch.equal(copied(x), expected)
            assert torch.equal(model(x), expected)
        torch._dynamo.reset()
        torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), expected)
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)


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
    with pytest.raises(UserError, match="timm/resnet18 cannot be built with act_layer='swush': KeyError: 'swush'"):
        get_model("timm/resnet18", drop_rate=0.1, act_layer="swush")


def test_other_zoos_are_listed_on_demand_and_only_classifiers_of_torchvision() -> None:
    names = list_models("torchvision/*")
    assert "torchvision/resnet18" in names
    assert not [name for name in names if "rcnn" in name or "deeplab" in name]
    assert "timm/resnet18" in list_models("timm/resnet1*")
    assert list_models("timm/resnet18.a1_in1k") == ["timm/resnet18"]
    assert list_models("timm/*.a1_in1k") == list_models("torchvision/resnet18.a1_in1k") == []


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'lit-cnn\[timm\]'"):
        get_model("timm/resnet18")
