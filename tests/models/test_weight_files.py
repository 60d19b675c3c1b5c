"""Files of weights: of users, of torchvision in the names of their time, damaged ones, and what is no such file."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import urllib.request
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError
from urllib.response import addinfourl

import pytest
import safetensors.torch
import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

from lit_cnn.errors import UserError
from lit_cnn.models import MODELS, get_model, load_weights
from lit_cnn.models.densenet import DenseNet
from tests.conftest import mostly_slow

from .helpers import randomise

TWINS = {name: row.torchvision for name, row in MODELS.items() if row.torchvision}
VIT = "encoder.layers.encoder_layer_1"
HOOKS = ("densenet121", "mnasnet0_5", "vit_b_32")  # of families for which torchvision has loading code of its own


def in_old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict as torchvision's oldest files have it: names of their time, no counters of batches."""
    old = {}
    for key, tensor in state.items():
        key = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key)
        key = key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")
        if not key.endswith("num_batches_tracked"):
            old[key] = tensor
    if hasattr(state, "_metadata"):
        old = type(state)(old)
        # Written before layers had versions; MNASNet alone always had one.
        old._metadata = {path: kept for path, kept in state._metadata.items() if not path}
    return old


class Published:
    """Stands in for torchvision's table of weights and for the network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = b""
        self.asked: list[str] = []
        self.twin = self.url = ""

    def set(self, twin: str, state: dict[str, Tensor]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.content, self.twin = buffer.getvalue(), twin
        self.url = f"https://example.org/models/{twin}-{hashlib.sha256(self.content).hexdigest()[:8]}.pth"

    @property
    def cached(self) -> Path:
        return self.folder / "hub" / "checkpoints" / self.url.rpartition("/")[2]

    def weights(self, twin: str) -> SimpleNamespace:
        assert twin == self.twin
        return SimpleNamespace(DEFAULT=SimpleNamespace(url=self.url))

    def open(self, url: str, timeout: float) -> addinfourl:
        self.asked.append(url)
        return addinfourl(io.BytesIO(self.content), Message(), url)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    fake = Published(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.models, "get_model_weights", fake.weights)
    monkeypatch.setattr(urllib.request, "urlopen", fake.open)
    return fake


@pytest.mark.parametrize(
    "name", mostly_slow([*TWINS, *(f"torchvision/{hooked}" for hooked in HOOKS)], "alexnet", "resnet18")
)
def test_imagenet_fills_every_twin_from_a_file_in_the_layout_that_is_published(name: str, published: Published) -> None:
    twin = TWINS.get(name) or name.partition("/")[2]
    with torch.device("meta"):  # names and shapes are what this is about
        state = torchvision.models.get_model(twin, weights=None).state_dict()
        model = get_model(name)
    published.set(twin, in_old_names(state))
    report = load_weights(model, name, "imagenet")
    assert set(report.loaded) == {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    assert not report.new
    assert not report.skipped
    assert published.asked == [published.url]


def test_every_published_file_is_named_after_its_sha256() -> None:
    for twin in TWINS.values():
        assert re.search(r"-[0-9a-f]{8,}\.pth$", torchvision.models.get_model_weights(twin).DEFAULT.url)


def theirs_and_ours(family: str) -> tuple[nn.Module, nn.Module, str]:
    """A small model of torchvision, one that is to get its weights, and the name of the latter."""
    if family == "densenet":
        small = torchvision.models.DenseNet(4, (2, 2), num_init_features=8, num_classes=5)
        return small, DenseNet((2, 2), 5, growth_rate=4, stem_channels=8), "densenet121"
    if family == "vit":
        sizes = {"image_size": 32, "patch_size": 16, "num_layers": 2, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 16}
        return VisionTransformer(**sizes, num_classes=5), VisionTransformer(**sizes, num_classes=5), "torchvision/vit"
    return *(torchvision.models.MNASNet(0.1, num_classes=5) for _ in range(2)), "torchvision/mnasnet0_5"


@pytest.mark.parametrize("kind", ["pth", "ckpt", "safetensors"])
@pytest.mark.parametrize("family", ["densenet", "vit", "mnasnet"])
def test_files_in_old_names_and_without_versions_give_the_outputs_they_gave(
    family: str, kind: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    theirs, ours, name = theirs_and_ours(family)
    state, path = in_old_names(randomise(theirs).state_dict()), tmp_path / f"w.{kind}"
    if kind == "safetensors":
        safetensors.torch.save_file(dict(state), path)
    else:
        torch.save(state if kind == "pth" else {"state_dict": {f"backbone.{k}": v for k, v in state.items()}}, path)
    report = load_weights(ours, name, path)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(ours.eval()(x), theirs.eval()(x))
    renamed = {
        "densenet": {"features.denseblock1.denselayer2.norm.1.bias": "features.denseblock1.denselayer2.norm1.bias"},
        "vit": {f"{VIT}.mlp.linear_1.bias": f"{VIT}.mlp.0.bias", f"{VIT}.mlp.linear_2.bias": f"{VIT}.mlp.3.bias"},
        "mnasnet": {},
    }[family]
    assert renamed.items() <= report.renamed.items()
    assert (f"outdated names: {len(report.renamed)}, such as" in str(report)) == bool(renamed)


def test_a_file_that_has_a_tensor_under_its_old_and_its_new_name_is_refused(tmp_path: Path) -> None:
    model = DenseNet((2, 2), 5, growth_rate=4, stem_channels=8)
    state = model.state_dict()
    torch.save(dict(state) | in_old_names(state), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"denselayer1\.norm\.1\.weight \(not in the model\)"):
        load_weights(model, "densenet121", tmp_path / "w.pth")


def test_imagenet_keeps_a_fresh_head_and_says_where_the_rest_is_from(published: Published) -> None:
    state = get_model("resnet18").state_dict()
    published.set("resnet18", state)
    model = get_model("resnet18", num_classes=5, in_channels=1)
    report = load_weights(model, "resnet18", "imagenet")
    assert report.new == ["fc.weight", "fc.bias"]
    assert list(report.adapted) == ["conv1.weight"]
    assert published.url in report.source
    assert all(torch.equal(model.state_dict()[key], state[key]) for key in report.loaded)
    load_weights(model, "resnet18", "imagenet")
    assert len(published.asked) == 1  # the second time the file is there


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "changed"])
def test_a_damaged_copy_of_published_weights_is_named_and_not_opened(
    damage: str, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.set("resnet18", {"conv1.weight": torch.zeros(64, 3, 7, 7)})
    whole = published.content
    published.cached.parent.mkdir(parents=True)
    published.cached.write_bytes(
        {"text": b"<html>", "empty": b"", "cut": whole[:-9], "changed": whole.replace(b"\0" * 99, b"\1" * 99)}[damage]
    )
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("opened"))
    with pytest.raises(UserError) as error:
        load_weights(get_model("resnet18"), "resnet18", "imagenet")
    assert str(error.value).startswith(f"{published.cached} is not the published file (sha256 ")
    assert str(error.value).endswith(f"remove it and fetch it again from {published.url}")
    assert not published.asked


def test_a_damaged_download_and_no_network_are_one_line_each(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.set("resnet18", {})
    name = published.cached.name

    def unreachable(*args: object, **options: object) -> None:
        raise URLError("Name or service not known")

    def damaged(url: str, timeout: float) -> addinfourl:
        return addinfourl(io.BytesIO(published.content[:-1] + b"x"), Message(), url)

    for answer, reason in ((unreachable, "Name or service not known"), (damaged, "sha256 [0-9a-f]{64}, expected")):
        monkeypatch.setattr(urllib.request, "urlopen", answer)
        with pytest.raises(UserError, match=f"could not download {name}: {published.url}: {reason}") as error:
            load_weights(get_model("resnet18"), "resnet18", "imagenet")
        assert "\n" not in str(error.value)
        assert not published.cached.exists()


def test_imagenet_for_a_model_without_twin_lists_those_with() -> None:
    # resnet50_v1 has the names and shapes of torchvision's resnet50, and other strides
    for name in ("googlenet", "resnet50_v1"):
        with pytest.raises(UserError, match=f"no published ImageNet weights for {name}. .*resnet18, .*densenet201"):
            load_weights(nn.Identity(), name, "imagenet")


def test_imagenet_for_other_strides_than_it_was_trained_with_is_refused_before_the_download(
    published: Published,
) -> None:
    with torch.device("meta"):
        model = get_model("resnet50", bottleneck="v1")
    published.set("resnet50", model.state_dict())
    with pytest.raises(UserError, match=r"other strides .*: layer2.0.conv1 \(2, theirs 1\), .* and 3 more"):
        load_weights(model, "resnet50", "imagenet")
    assert not published.asked
    load_weights(model, "resnet50", "imagenet", strict=False)
    assert published.asked


def small() -> nn.Module:
    return get_model("resnet20", num_classes=10)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_file_that_holds_code_is_refused_and_nothing_of_it_runs(tmp_path: Path, how: str) -> None:
    path, canary = tmp_path / "w.ckpt", tmp_path / "canary"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil(canary)}, protocol=2))
    else:
        torch.save({"state_dict": small().state_dict(), "x": Evil(canary)}, path)
    with pytest.raises(UserError, match="refused") as error:
        load_weights(small(), "resnet20", path)
    assert "\n" not in str(error.value)
    assert not canary.exists()
