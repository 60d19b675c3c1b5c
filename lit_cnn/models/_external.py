"""Other model zoos: ``torchvision/NAME`` and ``timm/NAME``. Both are imported only when used."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import torch
from torch import nn

from lit_cnn.errors import UserError, nearest
from lit_cnn.models._input_check import first_conv, on_meta
from lit_cnn.nn.pooling import replace_pooling


def torchvision_models() -> ModuleType:
    import torchvision.models

    return torchvision.models


def timm_module() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise UserError("models named timm/… need the timm package: pip install 'lit-cnn[timm]'") from None
    return timm


def is_external(name: str) -> bool:
    """Whether ``name`` has the prefix of another zoo."""
    return name.startswith(("torchvision/", "timm/"))


def torchvision_names() -> list[str]:
    """Names of torchvision's classifiers; its detection, segmentation and video models are other tasks."""
    models = torchvision_models()
    return [f"torchvision/{name}" for name in models.list_models(module=models)]


def timm_names() -> list[str]:
    """Names of timm's models."""
    return [f"timm/{name}" for name in timm_module().list_models()]


# Arguments by which the zoos themselves load weights, from any address and without a checksum.
LOADING = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
LOADING |= {"weights", "weights_backbone"}


def require(name: str) -> None:
    """Raise a UserError unless ``name`` (with its prefix) exists."""
    zoo, _, short = name.partition("/")
    if zoo == "torchvision":
        names = torchvision_names()
        known = name in names
    else:
        names = timm_names()
        # A tag after the dot selects pretrained weights (resnet50.a1_in1k).
        known = bool(short) and timm_module().is_model(short)
    if not known:
        raise UserError(f"unknown model {name!r}{nearest(name, names) or ';'} lit-cnn models '{zoo}/*' lists them")


def build(name: str, num_classes: int, in_channels: int, **kwargs: Any) -> nn.Module:
    """Build without pretrained weights.

    Raises:
        UserError: an argument by which the zoo would load weights.
        Exception: whatever the zoo's constructor raises.
    """
    zoo, _, short = name.partition("/")
    if loading := sorted(LOADING & kwargs.keys()):
        raise UserError(f"{name}: {loading[0]} cannot be given here; weights are loaded by `model.weights`")
    if zoo == "timm":
        model: nn.Module = timm_module().create_model(short, num_classes=num_classes, in_chans=in_channels, **kwargs)
    else:
        model = _build_torchvision(short, num_classes, in_channels, kwargs)
    replace_pooling(model)
    return model


def _build_torchvision(short: str, num_classes: int, in_channels: int, kwargs: dict[str, Any]) -> nn.Module:
    builder = torchvision_models().get_model_builder(short)
    kwargs = _torchvision_defaults(builder, in_channels) | kwargs
    # `weights` is the first positional parameter of these functions, so everything is passed by keyword.
    model = builder(num_classes=num_classes, **kwargs)
    if in_channels != 3:
        _replace_first_layer(model, in_channels)
    return model


def _torchvision_defaults(builder: Any, in_channels: int) -> dict[str, Any]:
    """Defaults for GoogLeNet and Inception v3, recognised by their constructors' arguments."""
    known = _class_arguments(inspect.signature(builder, eval_str=True).return_annotation)
    defaults: dict[str, Any] = {}
    if "transform_input" in known:
        # Off by default, on when torchvision loads its ImageNet weights. Always on here, so that a model rebuilt
        # from a checkpoint is the one that was trained; from scratch it only shifts and scales the channels.
        defaults["transform_input"] = in_channels == 3
    if known.get("init_weights", False) is None:
        # None warns of a coming change and draws truncated normals for seconds; False is PyTorch's own.
        defaults["init_weights"] = False
    return defaults


def _class_arguments(cls: type) -> dict[str, Any]:
    """Keyword arguments of a model class with their defaults."""
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _replace_first_layer(model: nn.Module, in_channels: int) -> None:
    """Replace the first convolution by one for ``in_channels``, with weights of the same standard deviation."""
    old = first_conv(model)
    if old is None or old.groups != 1:
        raise ValueError(
            f"its first layer cannot be replaced by one for {in_channels} channels, only 3 work: set `data.channels=3`"
        )
    new = nn.Conv2d(
        in_channels, old.out_channels, old.kernel_size, old.stride, old.padding,  # type: ignore[arg-type]
        old.dilation, bias=old.bias is not None, padding_mode=old.padding_mode, device=old.weight.device,  # type: ignore[arg-type]
    )  # fmt: skip
    with torch.no_grad():
        # The usual fan-out schemes do not depend on the input channels, so the standard deviation stays the same.
        nn.init.normal_(new.weight, 0.0, 1.0)
        new.weight *= old.weight.std()
    name = next(n for n, m in model.named_modules() if m is old)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


def arguments(name: str) -> list[str]:
    """Names of the arguments of the class behind ``name``, apart from ``num_classes`` and the channels.

    The zoo's function may set some of them itself; giving one of those is an error when the model is built.
    """
    model = on_meta(lambda: build(name, num_classes=1000, in_channels=3))
    hidden = {"num_classes", "in_chans", "in_channels", "weights", "progress"}
    return sorted(set(_class_arguments(type(model))) - hidden)
