"""Heads of a model, and keeping part of it as it is."""

from __future__ import annotations

from torch import nn

from lit_cnn.errors import UserError


def _outputs(module: nn.Module) -> int | None:
    """Width of a layer's output, for the layers that can end a classifier."""
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.Conv2d):
        return module.out_channels
    return None


def auxiliary_heads(model: nn.Module) -> list[str]:
    """Names of the children that are auxiliary heads: those that begin with ``aux``, as here and in torchvision."""
    return [name for name, _ in model.named_children() if name.lower().startswith("aux")]


def find_head(model: nn.Module, num_classes: int) -> str:
    """Return the name of the layer that gives the K logits: the last dense or 1x1 layer outside auxiliary heads.

    Raises:
        UserError: the last such layer has another width, so the model has no head for ``num_classes``.
    """
    aux = tuple(f"{name}." for name in auxiliary_heads(model))
    layers = [(n, m) for n, m in model.named_modules() if _outputs(m) is not None and not n.startswith(aux)]
    if layers and _outputs(layers[-1][1]) == num_classes:
        return layers[-1][0]
    # Some classes of other zoos register layers after the head.
    for name, module in reversed(layers):
        if isinstance(module, nn.Linear) and module.out_features == num_classes:
            return name
    raise UserError(f"{type(model).__name__} has no layer with {num_classes} outputs to be its head")


def all_heads(model: nn.Module, num_classes: int) -> list[str]:
    """Names of every module whose shape depends on K: the head, and the auxiliary heads.

    A network that ends in convolutions may have several K wide in a row (NiN's last block); all of them count.
    """
    aux = auxiliary_heads(model)
    try:
        head = find_head(model, num_classes)
    except UserError:  # a network without a head (include_top=False)
        return aux
    parent = head.rpartition(".")[0]
    heads = [head]
    if parent and isinstance(model.get_submodule(head), nn.Conv2d):
        for name, layer in reversed(list(model.get_submodule(parent).named_children())):
            if isinstance(layer, nn.Conv2d) and f"{parent}.{name}" != head:
                if layer.out_channels != num_classes:
                    break
                heads.append(f"{parent}.{name}")
    return heads + aux


def freeze(model: nn.Module, what: str | int, num_classes: int | None = None) -> list[nn.Module]:
    """Stop the gradients of a part of ``model``, in place, and return the frozen modules.

    Hold the returned modules in eval mode while training (``module.eval()`` after every ``model.train()``), so that
    BN statistics stay as they are too; none of them contains a layer that still trains.

    Args:
        what: ``backbone`` for everything but the heads, or the number N of top-level children to freeze from the
            front (as an int or in digits).
        num_classes: K, to find the head by; by default the width of the last layer.

    Raises:
        UserError: another word, or more children than the model has.
    """
    children = list(model.named_children())
    if isinstance(what, str) and what.lstrip("+-").isdigit():
        what = int(what)
    if isinstance(what, int) and not isinstance(what, bool):
        if not 0 <= what < len(children):
            names = ", ".join(name for name, _ in children)
            raise UserError(f"freeze: {what} is not between 0 and {len(children) - 1}; the children are: {names}")
        frozen = [child for _, child in children[:what]]
    elif what == "backbone":
        if num_classes is None:
            num_classes = next(k for m in reversed(list(model.modules())) if (k := _outputs(m)) is not None)
        find_head(model, num_classes)  # a network without one has nothing left to train
        keep = all_heads(model, num_classes)
        frozen = _outside(model, keep)
        # Parameters held by a module that also contains a head (a class token, say).
        for name, parameter in model.named_parameters():
            if not any(name.startswith(f"{k}.") for k in keep):
                parameter.requires_grad = False
    else:
        raise UserError(f"freeze must be 'backbone' or a number of layers, got {what!r}")
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def _outside(model: nn.Module, keep: list[str], prefix: str = "") -> list[nn.Module]:
    """Largest modules of ``model`` that contain none of the modules named in ``keep``."""
    found: list[nn.Module] = []
    for name, child in model.named_children():
        path = prefix + name
        if path in keep:
            continue
        if any(k.startswith(f"{path}.") for k in keep):
            found += _outside(child, keep, f"{path}.")
        else:
            found.append(child)
    return found
