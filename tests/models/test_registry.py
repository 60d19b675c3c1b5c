"""Models that a user registers are used as the built-in ones are."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models import (
    MODELS,
    find_head,
    freeze,
    get_model,
    input_error,
    list_models,
    load_weights,
    model_arguments,
    register_model,
    smallest_input,
)
from lit_cnn.models._registry import add_models


class MyNet(nn.Module):
    """A network of a user."""

    def __init__(self, num_classes: int, in_channels: int, width: int = 4, norm: str = "batch") -> None:
        super().__init__()
        if norm not in ("batch", "none"):
            raise ValueError(f"norm must be batch or none, got {norm!r}")
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 3), nn.BatchNorm2d(width) if norm == "batch" else nn.Identity()
        )
        self.unused_arguments = {"width": "of reasons of its own"} if norm == "none" else {}
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


@pytest.fixture(autouse=True)
def _registered(registry: None) -> None:
    register_model(MyNet)


def test_it_is_built_and_listed_by_its_name() -> None:
    model = get_model("MyNet", num_classes=5, in_channels=1, width=6)
    assert type(model) is MyNet
    assert model.eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
    assert list_models("MyN*") == list_models("yNe") == ["MyNet"]
    assert list_models()[-1] == "MyNet"
    assert model_arguments("MyNet") == ["width", "norm"]
    assert MODELS["MyNet"].image_size is None


def test_keywords_give_a_name_and_facts_and_the_decorator_returns_the_factory() -> None:
    @register_model(name="my-net.small", paper="mine", year=2025, image_size=32, num_classes=10)
    def small(num_classes: int, in_channels: int) -> nn.Module:
        return MyNet(num_classes, in_channels, 2)

    assert callable(small)
    info = MODELS["my-net.small"]
    assert (info.factory, info.paper, info.year, info.image_size, info.num_classes) == (small, "mine", 2025, 32, 10)
    assert get_model("my-net.small", 3, 1).fc.in_features == 2


def test_a_partial_is_registered_without_what_it_has_bound_by_position() -> None:
    register_model(name="wide")(partial(MyNet, width=32))
    assert get_model("wide", 3, 3).fc.in_features == 32
    assert model_arguments("wide") == ["width", "norm"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"wdith": 3}, "MyNet has no argument 'wdith', did you mean 'width'? Its arguments are: width, norm"),
        ({"norm": "layer"}, "MyNet: norm must be batch or none, got 'layer'"),
        ({"norm": "none", "width": 2}, "MyNet: width must not be given: of reasons of its own, got 2"),
        ({"num_classes": 0}, "MyNet: num_classes must be a whole number from 1 up, got 0"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        get_model("MyNet", **arguments)
    assert str(error.value) == line


def test_an_argument_that_a_layer_refuses_is_found() -> None:
    with pytest.raises(UserError, match=r"^MyNet cannot be built with width='x': .*") as error:
        get_model("MyNet", norm="batch", width="x")
    assert "\n" not in str(error.value)


def test_a_bug_in_the_factory_is_one_line_with_its_reason() -> None:
    @register_model
    def buggy(num_classes: int, in_channels: int) -> nn.Module:
        return nn.Linear(num_classes).no_such_thing()

    with pytest.raises(UserError, match=r"buggy cannot be built with 1000 classes and 3 channels: .*missing"):
        get_model("buggy")


def test_a_factory_that_returns_no_module_is_named() -> None:
    @register_model
    def nothing(num_classes: int, in_channels: int) -> None:
        return None

    with pytest.raises(UserError, match=r"nothing: its factory must return a torch.nn.Module, got NoneType"):
        get_model("nothing")


def test_keyword_arguments_of_any_name_pass() -> None:
    @register_model
    def open_ended(num_classes: int, **kwargs: Any) -> nn.Module:
        return MyNet(num_classes, **kwargs)

    assert get_model("open_ended", 2, 3, width=8).fc.in_features == 8
    assert model_arguments("open_ended") == []
    with pytest.raises(UserError, match=r"open_ended cannot be built with colour=1: .*unexpected keyword"):
        get_model("open_ended", 2, 3, colour=1)


def test_wrong_images_get_one_line_and_copies_and_pickles_work() -> None:
    model = get_model("MyNet", 2)
    with pytest.raises(UserError, match="MyNet cannot take 2x2 images; the smallest size that works is 3x3"):
        model(torch.zeros(2, 3, 2, 2))
    with pytest.raises(UserError, match=r"MyNet was built for 3 input channels, got 1: set `data.channels=3`"):
        model(torch.zeros(2, 1, 8, 8))
    assert smallest_input(model) == 3
    assert input_error(model, torch.zeros(2, 3, 8, 8)) == ""
    x = torch.randn(2, 3, 8, 8)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied.eval()(x), model.eval()(x))
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))


def test_freezing_and_weights_files_work(tmp_path: Path) -> None:
    model = get_model("MyNet", 5)
    assert find_head(model, 5) == "fc"
    freeze(model, 1)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == [
        "features.0.weight", "features.0.bias"
    ]  # fmt: skip
    torch.save(model.state_dict(), tmp_path / "w.pth")
    report = load_weights(get_model("MyNet", 3), "MyNet", tmp_path / "w.pth")
    assert report.new == ["fc.weight", "fc.bias"]
    with pytest.raises(UserError, match="no published ImageNet weights for MyNet"):
        load_weights(model, "MyNet", "imagenet")


def test_registering_the_same_definition_again_replaces_it_and_another_is_refused() -> None:
    register_model(MyNet)
    reloaded = type("MyNet", (MyNet,), {"__module__": MyNet.__module__, "__qualname__": MyNet.__qualname__})
    register_model(reloaded)
    assert MODELS["MyNet"].factory is reloaded
    for name in ("MyNet", "resnet18"):
        line = rf"there is a model '{name}' already, in [\w.]+: register yours, in {__name__}, under another name"
        with pytest.raises(UserError, match=line):

            @register_model(name=name)
            def other(num_classes: int, in_channels: int) -> nn.Module:
                return MyNet(num_classes, in_channels)

    add_models({"resnet18": MODELS["resnet18"]})  # as reloading its family does


@pytest.mark.parametrize("name", ["timm/mine", "", "a b", "*"])
def test_a_name_that_a_pattern_or_a_zoo_could_mean_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a model's name"):
        register_model(name=name)(MyNet)
    with pytest.raises(UserError, match="'<lambda>' cannot be a model's name"):
        register_model(lambda num_classes, in_channels: MyNet(num_classes, in_channels))


def test_a_factory_that_cannot_take_the_classes_and_channels_of_the_data_is_refused() -> None:
    def fixed(in_channels: int) -> nn.Module:
        return MyNet(10, in_channels)

    with pytest.raises(UserError, match=r"fixed must have the parameter num_classes$"):
        register_model(fixed)
    with pytest.raises(UserError, match=r"none must have the parameters num_classes and in_channels$"):
        register_model(name="none")(lambda: MyNet(10, 3))


@pytest.mark.parametrize("facts", [{"image_size": "32"}, {"image_size": 0}, {"in_channels": (3,)}])
def test_facts_that_are_no_numbers_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(
        UserError, match=rf"register_model: MyNet: {next(iter(facts))} must be a whole number from 1 up"
    ):
        register_model(**facts)(MyNet)


def test_an_unknown_model_says_how_ones_own_are_registered() -> None:
    with pytest.raises(UserError, match=r"unknown model 'MyNett', did you mean 'MyNet'\? .*`allow_import`"):
        get_model("MyNett")
