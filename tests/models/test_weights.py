from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import freeze, get_model, load_weights


def resnet(num_classes: int, **arguments: object) -> nn.Module:
    return get_model("resnet20", num_classes=num_classes, **arguments)


def same(model: nn.Module, state: dict[str, torch.Tensor], but: tuple[str, ...] = ()) -> bool:
    mine = model.state_dict()
    return all(torch.equal(mine[k], v) for k, v in state.items() if k in mine and not k.startswith(but or ("-",)))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    state = resnet(10).state_dict()
    torch.save(state, tmp_path / "w.pth")
    return tmp_path / "w.pth", state


def test_every_tensor_is_loaded_when_classes_are_the_same(saved: tuple) -> None:
    path, state = saved
    model = resnet(10)
    report = load_weights(model, "resnet20", path)
    assert same(model, state)
    assert set(report.loaded) == set(state)
    assert not report.new
    assert not report.skipped
    assert str(report) == f"weights: {len(state)} of {len(state)} tensors loaded from {path}"


def test_the_head_stays_fresh_when_the_number_of_classes_differs_and_the_report_says_so(saved: tuple) -> None:
    path, state = saved
    model = resnet(3)
    fresh = model.fc.weight.clone()
    report = load_weights(model, "resnet20", path, num_classes=3)
    assert same(model, state, but=("fc.",))
    assert torch.equal(model.fc.weight, fresh)
    assert report.new == report.skipped == ["fc.weight", "fc.bias"]
    assert "new, as initialised: fc.weight, fc.bias" in str(report)


@pytest.mark.parametrize("wrap", ["lightning", "torchvision", "ddp", "compiled"])
def test_checkpoints_and_wrapped_state_dicts_are_unwrapped(tmp_path: Path, wrap: str) -> None:
    state = resnet(10).state_dict()
    content = {
        "lightning": {
            "state_dict": {f"backbone.{k}": v for k, v in state.items()} | {"loss.weight": torch.ones(10)},
            "epoch": 3,
            "hyper_parameters": {"backbone": "resnet20"},
        },
        "torchvision": {"model": state, "epoch": 3},
        "ddp": {f"module.{k}": v for k, v in state.items()},
        "compiled": {"state_dict": {f"backbone._orig_mod.{k}": v for k, v in state.items()}},
    }[wrap]
    torch.save(content, tmp_path / "w.ckpt")
    model = resnet(10)
    report = load_weights(model, "resnet20", tmp_path / "w.ckpt")
    assert same(model, state)
    assert len(report.loaded) == len(state)


def test_safetensors_files_load(tmp_path: Path) -> None:
    state = resnet(10).state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    model = resnet(10)
    load_weights(model, "resnet20", tmp_path / "w.safetensors")
    assert same(model, state)


def test_a_file_of_another_depth_is_refused_and_taken_in_part_only_when_asked(tmp_path: Path) -> None:
    deeper = get_model("resnet32", num_classes=10).state_dict()
    torch.save(deeper, tmp_path / "w.pth")
    model = resnet(10)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(
        UserError, match=r"does not fit resnet20: .*layer1.3.conv1.weight \(not in the model\)"
    ) as error:
        load_weights(model, "resnet20", tmp_path / "w.pth")
    assert "\n" not in str(error.value)
    assert same(model, before)
    report = load_weights(model, "resnet20", tmp_path / "w.pth", strict=False)
    assert same(model, deeper)
    assert "layer1.3.conv1.weight" in report.skipped


def test_a_missing_and_a_misshapen_backbone_tensor_are_refused(saved: tuple) -> None:
    path, state = saved
    state["layer3.1.conv2.weight"] = torch.zeros(64, 64, 5, 5)
    del state["bn1.weight"]
    torch.save(state, path)
    with pytest.raises(
        UserError, match=r"2 tensors .*bn1.weight \(missing\), layer3.1.conv2.weight \(64x64x5x5 for 64x"
    ):
        load_weights(resnet(3), "resnet20", path)
    report = load_weights(resnet(3), "resnet20", path, strict=False)
    assert report.new == ["bn1.weight", "layer3.1.conv2.weight", "fc.weight", "fc.bias"]


def test_a_file_with_a_layer_more_at_its_end_is_refused(saved: tuple) -> None:
    path, state = saved
    torch.save(state | {"out.weight": torch.zeros(3, 10), "out.bias": torch.zeros(3)}, path)
    for num_classes in (10, 3):
        with pytest.raises(UserError, match=r"2 tensors .*out.weight \(not in the model\), out.bias"):
            load_weights(resnet(num_classes), "resnet20", path, num_classes=num_classes)
    report = load_weights(resnet(10), "resnet20", path, strict=False)
    assert report.skipped == ["out.weight", "out.bias"]


def test_a_head_of_another_name_is_skipped_and_the_models_own_stays_fresh(saved: tuple) -> None:
    path, state = saved
    torch.save({key.replace("fc.", "linear."): value for key, value in state.items()}, path)
    report = load_weights(resnet(10), "resnet20", path)
    assert report.skipped == ["linear.weight", "linear.bias"]
    assert report.new == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    "extra",
    [
        {"layer2.conv.weight": torch.zeros(8, 8, 1, 1)},  # inside of what the model has
        {"conv9.weight": torch.zeros(8, 8, 3, 3)},  # gives no logits
        {"a.weight": torch.zeros(8, 8), "b.weight": torch.zeros(8, 8)},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_no_other_layer_passes_for_the_head_of_a_file(saved: tuple, extra: dict[str, torch.Tensor]) -> None:
    path, state = saved
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")} | extra, path)
    for include_top in (True, False):
        with pytest.raises(UserError, match=r"\(not in the model\)"):
            load_weights(resnet(10, include_top=include_top), "resnet20", path)


def test_what_is_frozen_must_come_from_the_file_even_if_the_rest_need_not(saved: tuple) -> None:
    path, state = saved
    torch.save({key: value for key, value in state.items() if key != "layer3.2.bn2.running_mean"}, path)
    model = resnet(3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    frozen = freeze(model, "backbone", 3).tensors
    with pytest.raises(
        UserError, match=r"no fitting values for layer3.2.bn2.running_mean, and `model.freeze`"
    ) as error:
        load_weights(model, "resnet20", path, strict=False, num_classes=3, frozen=frozen)
    assert "\n" not in str(error.value)
    assert same(model, before)
    report = load_weights(resnet(3), "resnet20", path, strict=False, num_classes=3)
    assert report.new == ["layer3.2.bn2.running_mean", "fc.weight", "fc.bias"]


def test_weights_of_something_else_are_refused_even_in_part(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="no tensor of it has the name and shape"):
        load_weights(resnet(3), "resnet20", tmp_path / "w.pth", strict=False)


def test_a_first_layer_for_grey_sums_the_colour_channels_so_that_grey_images_give_what_equal_channels_gave(
    saved: tuple,
) -> None:
    path, _ = saved
    colour, grey = resnet(10).eval(), resnet(10, in_channels=1).eval()
    load_weights(colour, "resnet20", path)
    report = load_weights(grey, "resnet20", path)
    assert report.adapted == {"conv1.weight": "3 input channels summed and shared over 1"}
    assert "adapted: conv1.weight (3 input channels summed and shared over 1)" in str(report)
    x = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)))


def test_auxiliary_heads_are_replaced_dropped_and_added_with_the_head(tmp_path: Path) -> None:
    def googlenet(num_classes: int, **arguments: object) -> nn.Module:
        return get_model("googlenet", num_classes=num_classes, **arguments)

    state = googlenet(5).state_dict()
    torch.save(state, tmp_path / "with.pth")
    torch.save({k: v for k, v in state.items() if not k.startswith("aux")}, tmp_path / "without.pth")

    report = load_weights(googlenet(6), "googlenet", tmp_path / "with.pth")
    assert report.new == [f"{head}.{kind}" for head in ("aux1.fc2", "aux2.fc2", "fc") for kind in ("weight", "bias")]

    report = load_weights(googlenet(5, aux_heads=False), "googlenet", tmp_path / "with.pth")
    assert not report.new
    assert {key[:4] for key in report.skipped} == {"aux1", "aux2"}

    report = load_weights(googlenet(5), "googlenet", tmp_path / "without.pth")
    assert {key[:4] for key in report.new} == {"aux1", "aux2"}


def test_all_class_wide_layers_of_a_network_without_dense_layers_are_its_head(tmp_path: Path) -> None:
    torch.save(get_model("nin_imagenet", num_classes=10).state_dict(), tmp_path / "w.pth")
    model = get_model("nin_imagenet", num_classes=4)
    report = load_weights(model, "nin_imagenet", tmp_path / "w.pth")
    assert {key.split(".")[0] for key in report.new} == {"classifier"}
    assert len(report.new) == 6


def test_a_model_without_a_top_takes_a_file_that_has_one(saved: tuple) -> None:
    path, state = saved
    safetensors.torch.save_file(state, path.with_suffix(".safetensors"))  # whose keys come in another order
    for file in (path, path.with_suffix(".safetensors")):
        model = resnet(10, include_top=False)
        report = load_weights(model, "resnet20", file)
        assert same(model, state)
        assert set(report.skipped) == {"fc.weight", "fc.bias"}
        assert not report.new


@pytest.mark.parametrize("strict", [True, False])
def test_integer_weights_are_refused_in_one_line_that_names_the_first(saved: tuple, strict: bool) -> None:
    path, state = saved
    torch.save(state | {key: state[key].to(torch.int64) for key in ("conv1.weight", "fc.weight")}, path)
    model = resnet(10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"holds int64 numbers for conv1.weight and 1 more, where") as error:
        load_weights(model, "resnet20", path, strict=strict)
    assert "\n" not in str(error.value)
    assert same(model, before)


def test_half_precision_weights_load(saved: tuple) -> None:
    path, state = saved
    torch.save({key: value.half() if value.is_floating_point() else value for key, value in state.items()}, path)
    model = resnet(10)
    assert len(load_weights(model, "resnet20", path).loaded) == len(state)
    assert model.fc.weight.dtype == torch.float32
    assert torch.equal(model.fc.weight, state["fc.weight"].half().float())


def test_nan_in_a_file_is_named_and_sparse_tensors_are_loaded(saved: tuple) -> None:
    path, state = saved
    torch.save({**state, "fc.weight": state["fc.weight"].to_sparse()}, path)
    model = resnet(10)
    load_weights(model, "resnet20", path)
    assert same(model, state)
    torch.save({**state, "fc.weight": state["fc.weight"] * float("nan")}, path)
    with pytest.raises(UserError, match=r"w\.pth holds NaN in fc\.weight: give another file"):
        load_weights(resnet(10), "resnet20", path)
