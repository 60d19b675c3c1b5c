"""Weights by name on the Hugging Face Hub, from a server on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.models import _huggingface as hf
from lit_cnn.models import get_model, load_weights
from lit_cnn.models._pretrained_statistics import Preprocessing, of_config, pretrained_preprocessing
from tests.hub_server import COMMIT, LATER, HubServer, hub  # noqa: F401

NAME = "hf:someone/lenet"
CFG = {
    "input_size": [3, 240, 240], "crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic",
    "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1],
}  # fmt: skip


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return get_model("lenet", num_classes=10, in_channels=1).state_dict()


@pytest.fixture
def lenet(hub: HubServer) -> HubServer:  # noqa: F811
    hub.repositories["someone/lenet"] = {
        "model.safetensors": safetensors.torch.save(state()),
        "config.json": json.dumps({"architecture": "test_vit", "pretrained_cfg": CFG}).encode(),
    }
    return hub


def loaded(source: str = NAME) -> str:
    """Load into a network; returns the report."""
    model = get_model("lenet", num_classes=10, in_channels=1)
    report = load_weights(model, "lenet", source)
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in state().items())
    return str(report)


def test_a_name_loads_the_file_of_its_commit(lenet: HubServer) -> None:
    assert f"10 of 10 tensors loaded from {NAME}@{COMMIT} (model.safetensors)" in loaded()


@pytest.mark.parametrize("revision", ["", "@main", "@v1"])
def test_a_revision_is_pinned_and_then_needs_no_network(lenet: HubServer, revision: str) -> None:
    pinned = hf.pin(NAME + revision)
    assert pinned == f"{NAME}@{COMMIT}"
    assert not any("safetensors" in line for line in lenet.asked)  # weights wait for the run
    loaded(pinned)
    lenet.stop()
    lenet.asked.clear()
    assert hf.pin(NAME + revision) == pinned
    assert hf.hub_config(pinned)["pretrained_cfg"] == CFG
    loaded(pinned)
    assert lenet.asked == []


def test_a_pinned_name_keeps_its_commit_when_main_moves_on(lenet: HubServer) -> None:
    pinned = hf.pin(NAME)
    lenet.commit = LATER
    assert hf.pin(pinned) == pinned
    assert hf.pin(NAME) == pinned  # the cache first


def test_a_file_in_the_cache_that_was_changed_is_refused_before_it_is_opened(
    lenet: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hf.hub_weights(hf.pin(NAME))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.resolve().write_bytes(content)
    monkeypatch.setattr("lit_cnn.models._weights.read_tensors", lambda path: pytest.fail("opened"))
    with pytest.raises(UserError, match=r"is not the published file of hf:someone/lenet.*: remove it"):
        loaded()


def test_small_files_are_verified_by_their_hash_in_git(hub: HubServer) -> None:  # noqa: F811
    hub.repositories["someone/small"] = {"model.safetensors": b"abc"}
    path = hf.hub_weights("hf:someone/small")
    path.resolve().write_bytes(b"abd")
    with pytest.raises(UserError, match="is not the published file"):
        hf.hub_weights("hf:someone/small")


def test_a_pickled_file_is_read_without_running_code(lenet: HubServer, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.bin")
    lenet.repositories["someone/lenet"] = {"pytorch_model.bin": (tmp_path / "w.bin").read_bytes()}
    assert "(pytorch_model.bin)" in loaded()  # there is no config either
    assert hf.hub_config(hf.pin(NAME)) == {}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf:someone/none", r"has no repository someone/none that you may read: check the name; .* HF_TOKEN$"),
        ("hf:someone/gated", r"hf:someone/gated is gated: accept its terms at http://\S+/someone/gated, then log in"),
        (f"{NAME}@v2", "someone/lenet has no revision v2: leave it out for the newest"),
        ("hf:someone/empty", "has neither model.safetensors nor pytorch_model.bin"),
        ("hf:lenet", "give hf:OWNER/NAME or hf:OWNER/NAME@REVISION"),
        ("hf:", "give hf:OWNER/NAME"),
        ("hf:a--b/c..d", "is no name of the hub"),
    ],
)
def test_what_is_wrong_with_a_name_is_one_line(lenet: HubServer, source: str, message: str) -> None:
    lenet.repositories |= {"someone/gated": {}, "someone/empty": {"README.md": b""}}
    lenet.gated.add("someone/gated")
    with pytest.raises(UserError, match=message) as error:
        hf.hub_weights(hf.pin(source))
    assert "\n" not in str(error.value)


def test_without_a_network_the_line_says_where_the_cache_is_and_how_to_fill_it(
    lenet: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"not in the cache .*hub_cache, and HF_HUB_OFFLINE forbids .*hf download some"):
        hf.pin(NAME)
    assert lenet.asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    lenet.stop()
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    with pytest.raises(UserError, match=r"not in the cache .*, and http://\S+ does not answer \(.*\): .*hf download"):
        hf.pin(NAME)


def test_without_the_package_the_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'lit-cnn\[hub\]'"):
        hf.pin(NAME)


def test_default_weights_of_timm_are_those_of_its_default_tag() -> None:
    assert hf.timm_hub_name("timm/resnet18") == "hf:timm/resnet18.a1_in1k"
    assert hf.timm_hub_name("timm/resnet18.a2_in1k") == "hf:timm/resnet18.a2_in1k"
    with pytest.raises(UserError, match="give a file"):
        hf.timm_hub_name("timm/test_nonesuch")


def test_preprocessing_is_that_of_the_config_for_weights_by_name_and_beside_a_file(
    lenet: HubServer, tmp_path: Path
) -> None:
    expected = Preprocessing([0.5, 0.4, 0.3], [0.2, 0.2, 0.1], (240, 240), 266, "bicubic")  # timm: floor(240 / 0.9)
    assert pretrained_preprocessing("lenet", hf.pin(NAME), 3) == expected
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": CFG}))
    assert pretrained_preprocessing("lenet", str(tmp_path / "model.safetensors"), 3) == expected
    grey = pretrained_preprocessing("lenet", hf.pin(NAME), 1)
    assert grey is not None
    assert grey.mean == [0.4]


@pytest.mark.parametrize(
    "config", [{}, {"pretrained_cfg": 3}, {"mean": "abc", "std": 1}, {"mean": [0.5], "std": [0]}, {"mean": [1, None]}]
)
def test_a_config_of_something_else_says_nothing(config: dict) -> None:
    assert of_config(config) is None


def test_published_sizes_and_crops_are_known() -> None:
    found = pretrained_preprocessing("torchvision/mobilenet_v3_large", "imagenet", 3)
    assert found is not None
    assert (found.size, found.resize_to, found.interpolation) == ((224, 224), 232, "bilinear")
