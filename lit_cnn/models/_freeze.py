"""Freezing part of a model; finding its heads and blocks."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from lit_cnn.errors import UserError

# Names, here, in torchvision and in timm, of the module that holds nearly all blocks of a network.
BODIES = (
    "features", "stages", "dense_stages", "blocks", "layers", "levels", "transformers", "encoder", "body",
    "trunk_output",
)  # fmt: skip


def _outputs(module: nn.Module) -> int | None:
    """Width of a layer's output, for layers that can be the last of a classifier."""
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
        return module.out_channels
    return None


def auxiliary_heads(model: nn.Module) -> list[str]:
    """Names of the children that are auxiliary heads: those that begin with ``aux``, as here and in torchvision."""
    return [name for name, _ in model.named_children() if name.lower().startswith("aux")]


def find_head(model: nn.Module, num_classes: int | None = None) -> str:
    """Return the name of the layer that gives the K logits: the last dense or 1x1 layer outside auxiliary heads.

    Args:
        num_classes: K; by default that layer's width.

    Raises:
        UserError: the last such layer has another width, so the model has no head for ``num_classes``.
    """
    aux = auxiliary_heads(model)
    layers = [(n, k) for n, m in model.named_modules() if (k := _outputs(m)) and n.partition(".")[0] not in aux]
    # A network without a top may end in a layer that happens to be K wide.
    if layers and getattr(model, "include_top", True) and num_classes in (None, layers[-1][1]):
        return layers[-1][0]
    wanted = "dense or 1x1 layer at its end" if num_classes is None else f"layer with {num_classes} outputs at its end"
    raise UserError(f"{type(model).__name__} has no {wanted} to be its head")


def all_heads(model: nn.Module, num_classes: int | None = None) -> list[str]:
    """Names of every module whose shape depends on K: the head, and the auxiliary heads.

    A network with more than one K-wide layer besides them must name them, because widths are ambiguous (NiN with as
    many classes as filters): in ``class_layers`` here, in ``pretrained_cfg["classifier"]`` in timm.
    """
    try:
        heads = [find_head(model, num_classes)]
    except UserError:  # a network without a head (include_top=False)
        return auxiliary_heads(model)
    named = getattr(model, "class_layers", None) or (getattr(model, "pretrained_cfg", None) or {}).get("classifier")
    if isinstance(named, list | tuple) and heads[0] in named:
        heads = list(named)
    return list(dict.fromkeys(heads + auxiliary_heads(model)))


def blocks(model: nn.Module, num_classes: int | None = None) -> list[str]:
    """Names of the blocks of a model from the front, without its heads: what ``model.freeze`` counts.

    They are the children with parameters, and instead of a body such as ``features`` its children.

    Args:
        num_classes: K, to find the head by; by default the width of the last layer.
    """
    return _with_parameters(_expand_bodies(_outside(model, all_heads(model, num_classes))))


class Frozen(NamedTuple):
    """The modules and tensors that ``freeze`` froze.

    Attributes:
        modules: names of modules to be kept in eval mode while training (``eval()`` after every ``model.train()``), so
            that BN statistics do not change either; none of them contains a layer that trains. Names, since modules
            can be replaced later (``sync_batchnorm``).
        tensors: state-dict names of the frozen parameters and buffers, without those that never train (those of a
            whitening layer).
    """

    modules: list[str]
    tensors: set[str]


def freeze(model: nn.Module, what: str | int, num_classes: int | None = None) -> Frozen:
    """Stop the gradients of a part of ``model``, in place.

    Args:
        what: ``backbone`` for everything but the heads, or the number N of blocks to freeze from the front (as an int
            or in digits). Blocks are the children with parameters, and instead of a body such as ``features`` its
            children; heads are never among them. Parameters outside the blocks (a class token) freeze with the first.
        num_classes: K, to find the head by; by default the width of the last layer.

    Raises:
        UserError: another string, more blocks than the model has, or ``backbone`` of a model without a head.
    """
    count = int(what) if isinstance(what, str) and what.isdecimal() else what
    keep = all_heads(model, num_classes)
    parts = _outside(model, keep)
    if count == "backbone":
        find_head(model, num_classes)  # without one, no layer would be left to train
        modules = list(parts)
    elif isinstance(count, int) and not isinstance(count, bool) and count >= 0:
        parts = _expand_bodies(parts)
        modules = _first(parts, count, type(model).__name__)
    else:
        raise UserError(f"`model.freeze` must be 'backbone' or a number of blocks from 0 up, got {what!r}")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name in modules:
        parts[name].requires_grad_(False)
    inside = tuple(f"{name}." for name in (*parts, *keep))
    for name, parameter in model.named_parameters():
        if modules and not name.startswith(inside):
            parameter.requires_grad = False
    still = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = {id(layer) for name in modules for layer in parts[name].modules()}
    buffers = {
        f"{path}.{name}"
        for path, layer in model.named_modules()
        for name, _ in layer.named_buffers(recurse=False)
        if id(layer) in frozen
    }
    return Frozen(modules, (trained - still) | buffers)


def _first(parts: dict[str, nn.Module], count: int, model: str) -> list[str]:
    """Names of the first ``count`` parts that have parameters, and the modules between them (dropout)."""
    names = _with_parameters(parts)
    if count > len(names):
        raise UserError(f"`model.freeze`: {count} is more than the {len(names)} blocks of {model}: {', '.join(names)}")
    end = list(parts).index(names[count]) if count < len(names) else len(parts)
    return list(parts)[:end] if count else []


def _with_parameters(parts: dict[str, nn.Module]) -> list[str]:
    return [name for name, module in parts.items() if next(module.parameters(), None) is not None]


def _outside(model: nn.Module, keep: list[str], prefix: str = "") -> dict[str, nn.Module]:
    """Largest modules of ``model`` that contain none of the modules named in ``keep``, by name."""
    found: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        path = prefix + name
        if path in keep:
            continue
        if any(k.startswith(f"{path}.") for k in keep):
            found |= _outside(child, keep, f"{path}.")
        else:
            found[path] = child
    return found


def _expand_bodies(parts: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """``parts``, with every part that is the body of a network, not one of its blocks, replaced by its children."""
    found: dict[str, nn.Module] = {}
    for path, part in parts.items():
        children = {f"{path}.{name}": child for name, child in part.named_children()}
        if _with_parameters(children) and path.rpartition(".")[2] in BODIES:
            found |= _expand_bodies(children)
        else:
            found[path] = part
    return found


def batch_norms(model: nn.Module) -> list[str]:
    """Names of the batch normalizations of a model, those of timm included."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
