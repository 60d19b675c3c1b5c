"""Weights under the keys and prefixes that the field's training scripts use, alone and in copies."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models import WeightsReport, get_model, load_weights
from lit_cnn.tasks.classification import ImageClassifier


def network(num_classes: int = 10, blocks: int = 2) -> nn.Module:
    """A small network with the names of a ResNet."""
    layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, 4, 3), "bn1": nn.BatchNorm2d(4)}
    for name in ("layer1", "layer2"):
        block = (nn.Sequential(OrderedDict(conv1=nn.Conv2d(4, 4, 3), bn1=nn.BatchNorm2d(4))) for _ in range(blocks))
        layers[name] = nn.Sequential(*block)
    return nn.Sequential(
        OrderedDict(**layers, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(4, num_classes))
    )


torch.manual_seed(0)
STATE = network().state_dict()
KEYS = """
    state_dict model model_state_dict model_state net network state_dict_ema model_ema ema ema_model params params_ema
    weights backbone encoder module model_weights my_own_key
"""
PREFIXES = """
    module. model. net. backbone. encoder. _orig_mod. model.model. module.model. model.module. module.backbone.
    model._orig_mod. encoder_q. student.backbone. visual.trunk. resnet.
"""


def prefixed(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def other() -> dict[str, Tensor]:
    """Another copy of the network."""
    return {key: value + 1 for key, value in STATE.items()}


def take(content: Any, path: Path, num_classes: int = 10, **options: Any) -> tuple[nn.Module, WeightsReport]:
    torch.save(content, path / "w.pth")
    model = network(num_classes)
    return model, load_weights(model, "resnet20", path / "w.pth", **options)


def assert_loaded(model: nn.Module, state: dict[str, Tensor] = STATE, but: str = "-") -> None:
    mine = model.state_dict()
    wrong = [key for key, value in state.items() if not key.startswith(but) and not torch.equal(mine[key], value)]
    assert wrong == []


@pytest.mark.parametrize("key", KEYS.split())
def test_weights_under_any_key_are_found(key: str, tmp_path: Path) -> None:
    beside = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(4, 4, 3, 3)}}}, "loss": torch.tensor(0.4)}
    model, report = take({key: STATE, **beside}, tmp_path)
    assert_loaded(model)
    assert len(report.loaded) == len(STATE)
    assert not report.copies


@pytest.mark.parametrize("prefix", PREFIXES.split())
def test_any_prefix_of_the_names_is_removed(prefix: str, tmp_path: Path) -> None:
    for content in (prefixed(prefix), {"state_dict": prefixed(prefix)}, {"checkpoint": {"model": prefixed(prefix)}}):
        model, report = take(content, tmp_path)
        assert_loaded(model)
        assert len(report.loaded) == len(STATE)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(["module.", "model.", "backbone."], repeat=2)))
def test_prefixes_in_any_order_under_nested_keys(first: str, second: str, tmp_path: Path) -> None:
    model, _ = take({"checkpoint": {"model_state_dict": prefixed(first + second)}}, tmp_path)
    assert_loaded(model)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": prefixed("backbone.") | {"loss.weight": torch.ones(10)}},
        {"state_dict": {k if k.startswith("fc.") else f"backbone.{k}": v for k, v in STATE.items()}},
        {"state_dict": {f"{'head' if k.startswith('fc.') else 'backbone'}.{k}": v for k, v in STATE.items()}},
        {
            "backbone": {k: v for k, v in STATE.items() if not k.startswith("fc.")},
            "head": {k: v for k, v in STATE.items() if k.startswith("fc.")},
        },
        {"model": STATE | {f"{key[:-6]}total_ops": torch.zeros(1) for key in STATE if key.endswith("weight")}},
        {"model_ema": {"n_averaged": torch.tensor(9), **prefixed("module.")}},
        ({"x": 1}, {"state_dict": STATE}),
        {"module.layer1.0.module.conv1.weight": STATE["layer1.0.conv1.weight"]}
        | {f"module.{k}": v for k, v in STATE.items() if k != "layer1.0.conv1.weight"},
    ],
    ids=["loss beside", "head beside", "mmpretrain", "parts", "thop", "averaged model", "tuple", "module inside"],
)
def test_what_lies_beside_the_network_does_not_matter(content: Any, tmp_path: Path) -> None:
    model, report = take(content, tmp_path)
    assert_loaded(model)
    assert not report.new


@pytest.mark.parametrize(
    ("plain", "averaged"),
    [
        ("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema"), ("params", "params_ema"),
        ("state_dict", "ema_state_dict"), ("student", "teacher"), ("net", "swa_net"), ("model", "averaged_model"),
    ],
)  # fmt: skip
def test_of_a_plain_and_an_averaged_copy_the_averaged_is_taken_and_a_key_chooses(
    plain: str, averaged: str, tmp_path: Path
) -> None:
    for wrap in ("", "module."):
        content = {plain: prefixed(wrap, other()), averaged: prefixed(wrap), "epoch": 1}
        model, report = take(content, tmp_path)
        assert_loaded(model)
        assert f"  taken from its {averaged}; it also has {plain}: `model.weights_key` chooses" in str(report)
        model, report = take(content, tmp_path, key=plain)
        assert_loaded(model, other())
        assert not report.copies


def test_two_copies_in_one_state_dict_are_told_apart(tmp_path: Path) -> None:
    both = prefixed("model.", other()) | prefixed("ema_model.module.")
    model, report = take({"state_dict": both}, tmp_path)
    assert_loaded(model)
    assert report.copies == ["state_dict.model"]
    model, _ = take({"state_dict": both}, tmp_path, key="state_dict.model")
    assert_loaded(model, other())


def test_the_copy_that_fits_is_taken_whatever_its_key(tmp_path: Path) -> None:
    deeper = network(blocks=3).state_dict()
    for content in (
        {"state_dict_ema": prefixed("x.", deeper), "net": STATE},
        {"model": {"a": torch.ones(2)}, "b": STATE},
    ):
        model, _ = take({"epoch": 1, **content}, tmp_path, key="net" if "net" in content else None)
        assert_loaded(model)


def test_a_key_without_tensors_is_refused_with_those_that_have_some(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"`model.weights_key=ema`: the file has no tensors there, but under model, opt"
    ):
        take({"model": STATE, "opt": {"m": torch.ones(2)}, "epoch": 1}, tmp_path, key="ema")


def test_the_models_setting_chooses_the_key(tmp_path: Path) -> None:
    state = get_model("lenet", num_classes=10, in_channels=1).state_dict()
    plain = {key: value + 1 for key, value in state.items()}
    torch.save({"model": plain, "model_ema": state}, tmp_path / "w.pth")
    task = ImageClassifier(10, 1, "lenet", weights=str(tmp_path / "w.pth"), weights_key="model")
    task.setup("fit")
    assert_loaded(task.backbone, plain)


@pytest.mark.parametrize("head", ["fc.1", "fc.0.linear", "classifier", "linear"])
def test_a_head_in_another_form_stays_out_and_is_reported(head: str, tmp_path: Path) -> None:
    content = {f"module.{key.replace('fc', head)}": value for key, value in STATE.items()}
    model, report = take({"net": content}, tmp_path)
    assert_loaded(model, but="fc.")
    assert report.new == ["fc.weight", "fc.bias"]
    assert report.skipped == [f"{head}.weight", f"{head}.bias"]


def test_a_few_names_that_end_alike_are_no_network(tmp_path: Path) -> None:
    unlike = {f"stage.{i}.conv1.weight": torch.ones(16, 3, 3, 3) for i in range(9)}
    for strict in (True, False):
        with pytest.raises(UserError, match="does not fit resnet20"):
            take({"state_dict": unlike}, tmp_path, strict=strict)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_another_precision_are_converted(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in STATE.items()}
    model, _ = take({"model": prefixed("module.", state)}, tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert_loaded(model, {k: v.to(STATE[k].dtype) for k, v in state.items()})


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "model.", "net.", "backbone.", "timm_model."])
def test_safetensors_files_have_any_prefix_too(prefix: str, tmp_path: Path) -> None:
    save_file(prefixed(prefix), tmp_path / "w.safetensors")
    model = network()
    assert len(load_weights(model, "resnet20", tmp_path / "w.safetensors").loaded) == len(STATE)
    assert_loaded(model)


def test_of_the_copies_that_lightnings_weight_averaging_keeps_the_averaged_is_taken(tmp_path: Path) -> None:
    averaged, current = prefixed("model."), prefixed("model.", other())
    beside = {"averaging_state": {"n_averaged": torch.tensor(3)}, "epoch": 1}
    model, report = take({"state_dict": averaged, "current_model_state": current, **beside}, tmp_path)
    assert_loaded(model)
    assert report.copies == ["current_model_state.model"]
