"""Loading pretrained weights into a model, with a report of what was loaded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models._external import build
from lit_cnn.models._freeze import all_heads
from lit_cnn.models._huggingface import hub_weights, is_hub_name, pin, timm_hub_name
from lit_cnn.models._input_check import first_conv
from lit_cnn.models._registry import MODELS
from lit_cnn.models._weight_entries import Entries, current_names, find_entries, renumbered_dense
from lit_cnn.models._weight_files import published_weights, read_tensors


@dataclass
class WeightsReport:
    """What ``load_weights`` loaded and skipped; ``str()`` gives a few lines for the user.

    Attributes:
        source: the file, the URL of published weights, or the hub's name with the commit.
        loaded: keys taken from the source.
        adapted: keys loaded with a change, and which.
        new: keys of the model, parameters and buffers, that keep their initial values.
        skipped: keys of the source that were not used.
        renamed: outdated names in the source with the current ones, which the other fields hold.
        renumbered: names in the source of dense layers that have other numbers there, with the model's.
        prefix: the key in the file under which the tensors were, such as ``state_dict``.
        copies: keys of further copies in the file, which were not taken.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    renumbered: dict[str, str] = field(default_factory=dict)
    prefix: str = ""
    copies: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.adapted) + len(self.new)
        lines = [f"weights: {len(self.loaded) + len(self.adapted)} of {total} tensors loaded from {self.source}"]
        if self.copies:
            lines.append(
                f"  taken from its {self.prefix or 'top level'}; it also has {_short(self.copies, 3)}: "
                "`model.weights_key` chooses"
            )
        lines += [f"  adapted: {key} ({how})" for key, how in self.adapted.items()]
        if self.renamed:
            old, now = next(iter(self.renamed.items()))
            lines.append(f"  outdated names: {len(self.renamed)}, such as {old}, now {now}")
        if self.renumbered:
            old, now = next(iter(self.renumbered.items()))
            lines.append(f"  dense layers numbered otherwise in the file: {old} is {now} here")
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
    key: str | None = None,
) -> WeightsReport:
    """Copy trained weights into ``model``, in place.

    Heads (the last layer, and children that begin with ``aux``) keep their initial values where the source has another
    number of classes or no such head. A first convolution for another number of channels is adapted. Everything else
    must be in the source in the right shape.

    A file holds names and shapes only. Weights of resnet50 (v1.5) have those of resnet50_v1, so they load, although the
    network computes something else with them. Published weights are refused for other strides than torchvision's.

    Args:
        model: as built by ``get_model(name, …)``.
        name: its name.
        source: a file of ``torch.save`` or safetensors (a state dict under any key, with any prefix of its names; of
            copies that fit alike averaged weights); ``imagenet`` for the published weights of torchvision and timm;
            or ``hf:OWNER/NAME[@REVISION]`` of the Hugging Face Hub. These are downloaded once and checked against
            their hash.
        strict: ``False`` loads what fits and skips the rest.
        num_classes: K, to find the head by; by default the width of the last layer.
        frozen: keys that will not be trained, so that the source must have them even if not ``strict``.
        key: take the tensors under this key of the file, such as ``state_dict_ema``.

    Raises:
        UserError: no such file, not a weights file, one that would run code, integer weights (``strict`` or not), no
            published weights for this model or a damaged copy of them, a file that fits the model only in part while
            ``strict``, or one that lacks frozen tensors.
    """
    target = model.state_dict()
    where, entries = _read(model, name, source, strict, key)
    found, names, numbers = _with_our_names(entries.tensors, target)
    _refuse_integers(where, found, target)
    report = WeightsReport(where, renamed=names, renumbered=numbers, prefix=entries.prefix, copies=entries.others)
    heads = tuple(f"{head}." for head in all_heads(model, num_classes))
    first = first_conv(model)
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
        elif not key.endswith("num_batches_tracked"):  # counters that older files lack and nothing reads
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
            "Give another file or model, or set `model.weights_strict=false` to load what fits"
        )
    if not chosen:
        raise UserError(f"{where} does not fit {name}: no tensor of it has the name and shape of one in the model")
    _refuse_nan(where, chosen)
    _refuse_random_frozen(where, [key for key in report.new if key in frozen])
    # The chosen tensors have current names and shapes, so the version in the model's own state dict holds for them,
    # whatever the file says, if it says anything; MNASNet refuses a state dict without a version.
    target.update(chosen)
    model.load_state_dict(target)
    return report


def _read(model: nn.Module, name: str, source: str | Path, strict: bool, key: str | None) -> tuple[str, Entries]:
    """The file, or the URL of published weights, and the tensors in it that belong to the model."""
    known = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if source == "imagenet" and name.startswith("timm/"):
        source = timm_hub_name(name)
    if is_hub_name(source):
        source = pin(str(source))
        path = hub_weights(source)
        return f"{source} ({path.name})", find_entries(read_tensors(path), known, key)
    if str(source) != "imagenet":
        return str(source), find_entries(read_tensors(Path(source)), known, key)
    twin = _torchvision_name(name)
    if strict and "/" not in name:  # torchvision's own variants, such as dilated ones, share weights
        _refuse_other_strides(model, name, twin)
    where, tensors = published_weights(twin)
    return where, find_entries(tensors, known)


def _with_our_names(
    tensors: dict[str, Tensor], target: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str]]:
    """The tensors of a file by the model's names; which names were outdated, and which had other numbers."""
    names = current_names(tensors, target.keys())
    found = {names.get(key, key): tensor.to_dense() for key, tensor in tensors.items()}
    numbers = renumbered_dense(found, {key: tensor.shape for key, tensor in target.items()})
    return {numbers.get(key, key): tensor for key, tensor in found.items()}, names, numbers


def _refuse_random_frozen(where: str, random: list[str]) -> None:
    if random:
        raise UserError(
            f"{where} has no fitting values for {_short(random, 3)}, and `model.freeze` would keep them random. "
            "Give a file that has them, or freeze less"
        )


def _refuse_integers(where: str, found: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    wrong = [
        key
        for key, tensor in found.items()
        if key in target and target[key].is_floating_point() and not tensor.is_floating_point()
    ]
    if wrong:
        kind = str(found[wrong[0]].dtype).removeprefix("torch.")
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(
            f"{where} holds {kind} numbers for {wrong[0]}{more}, where the model has floating-point ones: quantised "
            "weights are useless without their scales. Give a file of floating-point weights"
        )


def _refuse_nan(where: str, chosen: dict[str, Tensor]) -> None:
    if broken := [key for key, tensor in chosen.items() if not tensor.is_meta and torch.isnan(tensor).any()]:
        raise UserError(f"{where} holds NaN in {_short(broken, 3)}: give another file")


def _size(tensor: Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "scalar"


def _heads_of_file(found: dict[str, Tensor], model: nn.Module, heads: tuple[str, ...]) -> set[str]:
    """Keys of the file that belong to a head of its own, not of the model.

    Those of auxiliary heads; and where the file has no tensor of the model's head, the one layer it has instead.

    Args:
        found: state dict of the file.
        model: the network.
        heads: prefixes of the keys of its heads.
    """
    known = model.state_dict().keys()
    aux = {key for key in found if key not in known and key.lower().startswith("aux")}
    aux |= {key for key in found if key not in known and key.startswith(heads)}  # layers in the place of the head
    rest = {key: tensor for key, tensor in found.items() if key not in known and key not in aux}
    own = tuple(head for head in heads if not head.lower().startswith("aux"))
    one_layer = len({key.rpartition(".")[0] for key in rest}) == 1
    gives_logits = any(tensor.dim() == 2 or tensor.shape[2:] == (1, 1) for tensor in rest.values())
    if not one_layer or not gives_logits or any(key.startswith(own) for key in found):
        return aux
    # A head is inside the module that holds the model's own, or outside all modules of the model.
    elsewhere = {name for name, _ in model.named_children()} - {head.partition(".")[0] for head in own}
    return aux | {key for key in rest if key.partition(".")[0] not in elsewhere}


def _other_channels(new: Tensor, old: Tensor) -> bool:
    return new.dim() == old.dim() == 4 and new.shape[0] == old.shape[0] and new.shape[2:] == old.shape[2:]


def _adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Sum over the input channels, so that a grey image gives the output that three equal channels gave."""
    return weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def with_published_weights() -> list[str]:
    """Registered names that torchvision's ImageNet weights fit."""
    return [name for name, info in MODELS.items() if info.torchvision]


def _torchvision_name(name: str) -> str:
    """The torchvision model whose published weights are for the model ``name``."""
    zoo, slash, twin = name.partition("/")
    if not slash:
        info = MODELS.get(name)
        twin = info.torchvision or "" if info else ""
    elif zoo != "torchvision":
        twin = ""
    if not twin:
        raise UserError(
            f"there are no published ImageNet weights for {name}. These models have some: "
            f"{', '.join(with_published_weights())}, torchvision/NAME and timm/NAME. Or give a file"
        )
    return twin


def _refuse_other_strides(model: nn.Module, name: str, twin: str) -> None:
    """Refuse published weights for convolutions of other strides than those they were trained with."""
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
            "Leave out the arguments that change them, or set `model.weights_strict=false`"
        )
