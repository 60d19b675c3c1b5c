from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models import get_model, load_weights


@pytest.mark.parametrize("depth", [7, 9, 11, 13, 16, 19])
@pytest.mark.parametrize("suffix", ["", "_bn"])
def test_the_name_counts_the_layers_with_weights(depth: int, suffix: str) -> None:
    with torch.device("meta"):
        model = get_model(f"vgg{depth}{suffix}")
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == bool(suffix)


def test_hidden_layers_activation_and_dropout_are_arguments() -> None:
    with torch.device("meta"):
        model = get_model("vgg11", num_classes=5, hidden=(4096, 2048), activation="relu6", dropout=0.4)
    assert [m.out_features for m in model.classifier if isinstance(m, nn.Linear)] == [4096, 2048, 5]
    assert [m.p for m in model.classifier if isinstance(m, nn.Dropout)] == [0.4, 0.4]
    assert {type(m) for m in model.modules() if "ReLU" in type(m).__name__} == {nn.ReLU6}
    with torch.device("meta"):
        model = get_model("vgg11", hidden=(64,), head_activation="relu6")
    assert {type(m) for m in model.features if "ReLU" in type(m).__name__} == {nn.ReLU}
    assert {type(m) for m in model.classifier if "ReLU" in type(m).__name__} == {nn.ReLU6}


def test_the_cifar_form_has_one_dense_layer_on_512_values() -> None:
    with torch.device("meta"):
        model = get_model("vgg16_cifar", num_classes=10)
    assert [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)] == [(512, 10)]


@pytest.mark.parametrize(
    ("dropout_at", "layers", "numbers"),
    [
        ("after", "Linear ReLU Dropout Linear ReLU Dropout Linear", [0, 3, 6]),
        ("before", "Dropout Linear ReLU Dropout Linear ReLU Linear", [1, 4, 6]),
        ("all", "Dropout Linear ReLU Dropout Linear ReLU Dropout Linear", [1, 4, 7]),
    ],
)
def test_dropout_is_where_it_is_asked_for(dropout_at: str, layers: str, numbers: list[int]) -> None:
    model = get_model("vgg7", 3, hidden=(8, 4), pool_to=1, dropout_at=dropout_at)
    assert [type(m).__name__ for m in model.classifier] == layers.split()
    assert [i for i, m in enumerate(model.classifier) if isinstance(m, nn.Linear)] == numbers


@pytest.mark.parametrize("dropout_at", ["after", "before", "all"])
def test_weight_files_whose_dense_layers_have_other_numbers_load(dropout_at: str, tmp_path: Path) -> None:
    # as the scripts' files number them: dropout before the two hidden layers
    theirs = {"classifier.0": "classifier.1", "classifier.3": "classifier.4", "classifier.6": "classifier.6"}
    state = get_model("vgg7", 3, hidden=(8, 4), pool_to=1).state_dict()
    file = {theirs.get(k.rpartition(".")[0], k.rpartition(".")[0]) + k[k.rindex(".") :]: v for k, v in state.items()}
    torch.save(file, tmp_path / "vgg7.pth")
    model = get_model("vgg7", 3, hidden=(8, 4), pool_to=1, dropout_at=dropout_at)
    report = load_weights(model, "vgg7", tmp_path / "vgg7.pth")
    assert len(report.loaded) == len(state)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), state.values(), strict=True))
    line = "dense layers numbered otherwise in the file: "
    assert (line in str(report)) == (dropout_at != "before")


def test_a_file_with_another_number_of_dense_layers_is_still_refused(tmp_path: Path) -> None:
    torch.save(get_model("vgg7", 3, hidden=(8,), pool_to=1).state_dict(), tmp_path / "vgg7.pth")
    with pytest.raises(UserError, match="does not fit vgg7"):
        load_weights(get_model("vgg7", 3, hidden=(8, 4), pool_to=1), "vgg7", tmp_path / "vgg7.pth")


def test_vgg7_has_the_three_stages_whose_textbook_form_stops_at_its_head() -> None:
    with torch.device("meta"):
        model = get_model("vgg7", 10)
        assert [m.out_channels for m in model.features if isinstance(m, nn.Conv2d)] == [64, 128, 256, 256]
        assert model.classifier[0].in_features == 256 * 7 * 7  # the textbook: 512 * 7 * 7
        assert model(torch.empty(1, 3, 64, 64)).shape == (1, 10)


def test_level_c_has_a_1x1_convolution_at_the_end_of_its_stages_of_three() -> None:
    with torch.device("meta"):
        kernels = [m.kernel_size[0] for m in get_model("vgg16_c").features if isinstance(m, nn.Conv2d)]
    assert kernels == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]
    with pytest.raises(UserError, match="vgg11: third_kernel must not be given: no stage has a third convolution"):
        get_model("vgg11", third_kernel=1)
