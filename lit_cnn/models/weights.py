"""Loading trained weights into a model, and saying what was loaded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models.external import build, torchvision_models
from lit_cnn.models.freeze import all_heads
from lit_cnn.models.sizes import first_layer

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


@dataclass
class WeightsReport:
    """What ``load_weights`` did. ``str()`` of it is a few lines for the user.

    Attributes:
        source: the file, or the address for published weights.
        loaded: keys taken from the source.
        adapted: keys taken with a change, and which.
        new: keys of the model, parameters and buffers, that keep their fresh values.
        skipped: keys of the source that were not used.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.adapted) + len(self.new)
        lines = [f"weights: {len(self.loaded) + len(self.adapted)} of {total} tensors loaded from {self.source}"]
        lines += [f"  adapted: {key} ({how})" for key, how in self.adapted.items()]
        if self.new:
            lines.append(f"  new, as initialised: {_short(self.new)}")
        if self.skipped:
            lines.append(f"  in the file, not used: {_short(self.skipped)}")
        return "\n".join(lines)


def _short(keys: list[str], limit: int = 6) -> str:
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more


def load_weights(
    model: nn.Module,
    name: str,
    source: str | Path,
    strict: bool = True,
    num_classes: int | None = None,
    frozen: Collection[str] = (),
) -> WeightsReport:
    """Copy trained weights into ``model``, in place.

    Heads (the last layer, and children that begin with ``aux``) keep their fresh values where the source has another
    number of classes or no such head. A first convolution for another number of channels is adapted. Everything else
    must be there in the right shape.

    Names and shapes are all that a file tells. Weights of resnet50 (v1.5) have those of resnet50_v1, and resnet20's
    those of plain20, so they load, although the network computes something else with them. Published weights are
    known to be for torchvision's strides, and refused for others.

    Args:
        model: as built by ``get_model(name, …)``.
        name: its name.
        source: a ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file (a state dict, one under the key
            ``state_dict`` or ``model``, or a checkpoint of lit-cnn), or ``imagenet`` for torchvision's published
            weights, downloaded once and checked against their SHA-256.
        strict: ``False`` takes what fits and leaves the rest.
        num_classes: K, to find the head by; by default the width of the last layer.
        frozen: keys that are not going to be trained, so that the source must have them even if not ``strict``.

    Raises:
        UserError: no such file, not a weights file, one that would run code, no published weights for this model,
            a file that fits the model only in part while ``strict``, or one that lacks what is frozen.
    """
    if str(source) == "imagenet":
        twin = _twin(name)
        if strict and "/" not in name:  # torchvision's own variants, such as dilated ones, are meant to share weights
            _refuse_other_strides(model, name, twin)
        where, found = _published(twin)
    else:
        where, found = str(source), read_state_dict(Path(source))
    report = WeightsReport(source=where)
    target = model.state_dict()
    heads = tuple(f"{head}." for head in all_heads(model, num_classes))
    first = first_layer(model)
    first_key = next((f"{n}.weight" for n, m in model.named_modules() if m is first and n), None)

    chosen: dict[str, Tensor] = {}
    wrong: list[str] = []
    for key, old in target.items():
        is_head = key.startswith(heads)
        new = found.get(key)
        if new is not None and new.shape == old.shape:
            chosen[key] = new
            report.loaded.append(key)
        elif new is not None and key == first_key and _other_channels(new, old):
            chosen[key] = _adapt_channels(new, old.shape[1])
            report.adapted[key] = f"{new.shape[1]} input channels summed and shared over {old.shape[1]}"
        elif not key.endswith("num_batches_tracked"):  # counters that older files lack; nothing reads them
            report.new.append(key)
            if not is_head:
                wrong.append(f"{key} ({'missing' if new is None else f'{_size(new)} for {_size(old)}'})")
    excused = _heads_of_file(found, model, heads)
    for key in found:
        if key not in chosen:
            report.skipped.append(key)
            if key not in target and key not in excused:
                wrong.append(f"{key} (not in the model)")

    if wrong and strict:
        raise UserError(
            f"{where} does not fit {name}: {len(wrong)} tensors beside the head differ, such as {_short(wrong, 3)}. "
            "Give another file or model, or weights_strict=false to take what fits"
        )
    if not chosen:
        raise UserError(f"{where} does not fit {name}: no tensor of it has the name and shape of one in the model")
    if random := [key for key in report.new if key in frozen]:
        raise UserError(
            f"{where} has no fitting values for {_short(random, 3)}, and freeze would keep them random. "
            "Give a file that has them, or freeze less"
        )
    model.load_state_dict(chosen, strict=False)
    return report


def _size(tensor: Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "scalar"


def _heads_of_file(found: dict[str, Tensor], model: nn.Module, heads: tuple[str, ...]) -> set[str]:
    """Which of the keys that only the file has belong to a head.

    Those of auxiliary heads; and where the file has nothing of the model's own head, the one layer it has instead.

    Args:
        found: content of the file.
        model: the network.
        heads: what the names of its heads' tensors begin with.
    """
    known = model.state_dict().keys()
    aux = {key for key in found if key not in known and key.lower().startswith("aux")}
    rest = {key: tensor for key, tensor in found.items() if key not in known and key not in aux}
    own = tuple(head for head in heads if not head.lower().startswith("aux"))
    one_layer = len({key.rpartition(".")[0] for key in rest}) == 1
    gives_logits = any(tensor.dim() == 2 or tensor.shape[2:] == (1, 1) for tensor in rest.values())
    if not one_layer or not gives_logits or any(key.startswith(own) for key in found):
        return aux
    # A head lies where the model's own does, or outside of all that the model has.
    elsewhere = {name for name, _ in model.named_children()} - {head.partition(".")[0] for head in own}
    return aux | {key for key in rest if key.partition(".")[0] not in elsewhere}


def _other_channels(new: Tensor, old: Tensor) -> bool:
    return new.dim() == old.dim() == 4 and new.shape[0] == old.shape[0] and new.shape[2:] == old.shape[2:]


def _adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Sum over the input channels, so that a grey image gives what it gave as three equal channels."""
    return weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file or checkpoint; of a Lightning checkpoint, those of its ``backbone``.

    Only tensors and plain types are read: a file that holds code is refused before any of it runs.

    Raises:
        UserError: no such file, or not one of the kinds.
    """
    if not path.is_file():
        raise UserError(f"no weights file at {path}" + (" (it is a folder)" if path.is_dir() else ""))
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = _read_safetensors(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:
        if "weights_only" in str(error).lower() or "Unsupported" in str(error):
            raise UserError(
                f"{path} was refused: it holds Python objects beside tensors, and loading those could run code. "
                "Save it anew as a state dict: torch.save(model.state_dict(), 'weights.pth')"
            ) from None
        raise UserError(f"{path} is not a weights file that PyTorch can read, or it is cut short") from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no state dict but a {type(content).__name__}")
    # Left by torch.compile and DistributedDataParallel.
    state = {
        str(key).replace("_orig_mod.", "").removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }
    inside = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    if not state:
        raise UserError(f"{path} holds no tensors: it is not a state dict or a checkpoint")
    return inside or state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise UserError(f"reading {path} needs the safetensors package: pip install safetensors") from None
    return load_file(path)


def with_published_weights() -> list[str]:
    """Names in this package that torchvision's ImageNet weights fit."""
    from lit_cnn.models import MODELS  # the registry is built from files that need this one's neighbours

    return [name for name, row in MODELS.items() if row.torchvision]


def _twin(name: str) -> str:
    """The torchvision model whose published weights are for the model ``name``."""
    from lit_cnn.models import MODELS

    zoo, slash, twin = name.partition("/")
    if not slash:
        row = MODELS.get(name)
        twin = row.torchvision or "" if row else ""
    elif zoo != "torchvision":
        twin = ""
    if not twin:
        raise UserError(
            f"there are no published ImageNet weights for {name} here. These have some: "
            f"{', '.join(with_published_weights())}, and torchvision/NAME. Or give a file"
        )
    return twin


def _refuse_other_strides(model: nn.Module, name: str, twin: str) -> None:
    """Refuse published weights for convolutions that step otherwise than those they were trained in."""
    with torch.device("meta"):
        theirs = dict(build(f"torchvision/{twin}", 1000, 3).named_modules())
    other = [
        f"{path} ({layer.stride[0]}, theirs {known.stride[0]})"
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
        and isinstance(known := theirs.get(path), nn.Conv2d)
        and layer.stride != known.stride
    ]
    if other:
        raise UserError(
            f"the published weights of {name} are for other strides than this model has: {_short(other, 3)}. "
            "Leave out the arguments that change them, or give weights_strict=false"
        )


def _published(twin: str) -> tuple[str, dict[str, Tensor]]:
    """Address and content of torchvision's published weights."""
    try:
        weights = torchvision_models().get_model_weights(twin).DEFAULT
    except (ValueError, AttributeError):
        raise UserError(f"torchvision publishes no ImageNet weights for {twin}") from None
    try:
        # The file's name holds the start of its SHA-256.
        state = torch.hub.load_state_dict_from_url(weights.url, map_location="cpu", check_hash=True, weights_only=True)
    except OSError as error:  # URLError is one
        raise UserError(
            f"could not download {weights.url} ({error}). Download it where there is a network, then give its path"
        ) from None
    except RuntimeError as error:
        raise UserError(f"{weights.url}: {error}. Delete the file and try again") from None
    return f"{weights} ({weights.url})", state
