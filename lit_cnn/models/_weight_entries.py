"""Find the tensors of a network in a weights file, whatever keys and prefixes a training script put them under.

Files are read as flat names with dots: ``{"state_dict": {"module.fc.bias": …}}`` is ``state_dict.module.fc.bias``. The
network's tensors are those below the prefix under which most of its names are found in the right shape.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Size, Tensor

from lit_cnn.errors import UserError

# Old names in files that torchvision still publishes or once wrote, with the current ones. Its own loading code does
# the same: models/densenet.py, _load_state_dict; models/vision_transformer.py, MLPBlock._load_from_state_dict.
_OLD_NAMES = (
    (re.compile(r"(\.denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)"), r"\1"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
# Parts of names that DataParallel, torch.compile, FSDP and activation checkpointing leave.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
# Of copies that fit alike, averaged weights are taken, as by timm, then those under these keys in this order.
_AVERAGED = re.compile(r"(^|[_.])(ema|swa|averaged?|teacher)([_.]|$)", re.IGNORECASE)
_KEYS = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params", "backbone")
_COUNTERS = {"n_averaged", "num_updates", "initted", "step"}  # beside averaged weights
_COSTS = {"total_ops", "total_params"}  # buffers that thop adds to every layer
_DEPTH = 8  # of dictionaries in dictionaries


@dataclass
class Entries:
    """Tensors of a file that belong to a network.

    Attributes:
        tensors: by the network's names, as far as they are in it.
        prefix: under which they were, such as ``state_dict``.
        others: prefixes of further copies that fit as well.
    """

    tensors: dict[str, Tensor]
    prefix: str = ""
    others: list[str] = field(default_factory=list)


def flatten(content: Any, prefix: str = "", depth: int = _DEPTH) -> dict[str, Tensor]:
    """All tensors in dictionaries and lists, by their keys joined with dots."""
    if isinstance(content, Tensor):
        return {prefix: content}
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(content, Mapping):
        items = content.items()
    elif isinstance(content, list | tuple):
        items = enumerate(content)
    found: dict[str, Tensor] = {}
    for key, value in items if depth else ():
        found |= flatten(value, f"{prefix}.{key}" if prefix else str(key), depth - 1)
    return found


def current_names(found: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Current names for the outdated ones of a file; only names that ``known`` has, and each only once.

    Args:
        found: names in the file.
        known: names in the model.
    """
    renamed = ((key, _current(key)) for key in found)
    return {key: new for key, new in renamed if key not in known and new in known and new not in found}


def renumbered_dense(found: Mapping[str, Tensor], known: Mapping[str, Size]) -> dict[str, str]:
    """Names in the model for dense layers that a file numbers otherwise, in the same order.

    Dropout in other places changes the numbers in an ``nn.Sequential``: the dense layers of VGG are classifier.0, 3 and
    6 in torchvision, and 1, 4 and 6 where the inputs of the hidden ones are dropped.

    Args:
        found: tensors in the file.
        known: shapes by the model's names.
    """
    theirs, ours = _dense({name: t.shape for name, t in found.items()}), _dense(known)
    renamed: dict[str, str] = {}
    for parent, layers in ours.items():
        numbers, shapes = list(layers), list(layers.values())
        others = theirs.get(parent, {})
        if list(others) == numbers or len(others) != len(numbers) or list(others.values())[:-1] != shapes[:-1]:
            continue
        for there, here in zip(others, numbers, strict=True):
            names = {f"{parent}.{there}.{end}": f"{parent}.{here}.{end}" for end in ("weight", "bias")}
            renamed |= {old: new for old, new in names.items() if old in found and old != new}
    return renamed


def _dense(shapes: Mapping[str, Size]) -> dict[str, dict[int, Size]]:
    """Shapes of the matrices in each ``nn.Sequential``, by its name and their numbers, in order."""
    found: dict[str, dict[int, Size]] = defaultdict(dict)
    for name, shape in shapes.items():
        if len(shape) == 2 and (match := re.fullmatch(r"(.+)\.(\d+)\.weight", name)):
            found[match[1]][int(match[2])] = shape
    return {parent: dict(sorted(layers.items())) for parent, layers in found.items()}


def _current(name: str) -> str:
    for old, now in _OLD_NAMES:
        name = old.sub(now, name)
    return name


def find_entries(flat: dict[str, Tensor], known: Mapping[str, Size], key: str | None = None) -> Entries:
    """The tensors of ``flat`` that belong to a network.

    Args:
        flat: as of ``flatten``.
        known: shapes by the network's names.
        key: take those under this key; by default, under the one that fits best.

    Raises:
        UserError: there are no tensors under ``key``.
    """
    named = _without_wrappers(flat, known)
    known = {name: shape for name, shape in known.items() if not name.endswith("num_batches_tracked")}
    below: dict[str, dict[str, str]] = defaultdict(dict)  # by prefix: network's names, those of the file
    for name in named:
        parts = _current(name).split(".")
        for at in range(len(parts)):
            if (end := ".".join(parts[at:])) in known:
                below[".".join(parts[:at])][end] = name
    fits = {
        prefix: sum(flat[named[name]].shape == known[end] for end, name in ends.items())
        for prefix, ends in below.items()
        if key is None or f"{prefix}.".startswith(f"{key}.")
    }
    usual = {*_KEYS, "encoder", "module", ""}
    ranked = sorted(
        (p for p in fits if 2 * len(below[p]) >= len(known) or usual.issuperset(p.split("."))),
        key=lambda p: (-fits[p], not _AVERAGED.search(p), *(_rank(part) for part in p.split("."))),
    )
    if not ranked:
        return _without_match(flat, named, key)
    prefix, *rest = ranked
    others = [p for p in rest if fits[p] and 2 * fits[p] > fits[prefix]]
    tensors = {name[len(prefix) :].lstrip("."): flat[named[name]] for name in named if _is_below(name, prefix)}
    if prefix:  # a head beside the backbone
        for end in known.keys() - tensors.keys():
            beside = [p for p in below if end in below[p] and p not in others and not _is_below(p, prefix)]
            if beside:
                nearest = max(beside, key=lambda p: _shared(p, prefix))
                tensors[end] = flat[named[below[nearest][end]]]
    extra = [n for n in tensors if n not in known and (n in _COUNTERS or n.rpartition(".")[2] in _COSTS)]
    return Entries({n: t for n, t in tensors.items() if n not in extra}, prefix, others)


def _without_wrappers(flat: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Names of the file without what wrappers left in them, each with the full one."""
    wrappers = _WRAPPERS - {part for name in known for part in name.split(".")}
    tops = {name.partition(".")[0] for name in flat}
    keep = int(len(tops) > 1)  # "module" may also be the key of the network, beside others
    names = {}
    for name in flat:
        parts = name.split(".")
        names[".".join(parts[:keep] + [part for part in parts[keep:] if part not in wrappers])] = name
    return names


def _rank(part: str) -> int:
    return _KEYS.index(part) if part in _KEYS else len(_KEYS)


def _is_below(name: str, prefix: str) -> bool:
    return not prefix or f"{name}.".startswith(f"{prefix}.")


def _shared(first: str, second: str) -> int:
    """Number of parts that two prefixes begin with alike."""
    pairs = list(zip(first.split("."), second.split("."), strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


def _without_match(flat: dict[str, Tensor], named: dict[str, str], key: str | None) -> Entries:
    """Nothing of the network is in the file: what it most likely holds, for the message."""
    tops = list(dict.fromkeys(name.partition(".")[0] for name in named if "." in name))
    if key is None:
        key = next((top for top in _KEYS if top in tops), "")
    tensors = {name[len(key) :].lstrip("."): flat[named[name]] for name in named if _is_below(name, key)}
    if not tensors:
        raise UserError(f"`model.weights_key={key}`: the file has no tensors there, but under {', '.join(tops[:6])}")
    return Entries(tensors, key)
