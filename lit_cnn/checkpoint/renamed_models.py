"""Networks that earlier versions called otherwise: their checkpoints are read under today's names.

Each name in ``RENAMINGS`` is that of another network now. Checkpoints, and the first line of the config.yaml of a run,
hold the number of renamings that were known when they were written, so that the later ones are applied to them.
"""

from __future__ import annotations

import re
from typing import Any

# One dictionary for each renaming, oldest first; new ones are appended, and none is ever changed.
RENAMINGS: tuple[dict[str, str], ...] = (
    {"vgg7": "vgg7_wide", "vgg7_bn": "vgg7_wide_bn", "vgg7_cifar": "vgg7_wide_cifar"},
    {"residual_cifar": "residual_cifar_bn"},
    {"convnet": "convnet_pooled", "dilated_convnet": "dilated_convnet_padded"},
)
MODEL_NAMES = "model_names"  # key in checkpoint["lit_cnn"]: number of renamings when it was written


def current_model_name(name: str, known: int) -> str:
    """Today's name of the network that was called ``name`` when the first ``known`` renamings had been done."""
    for renaming in RENAMINGS[known:]:
        name = renaming.get(name, name)
    return name


def use_current_model_names(content: dict[str, Any], own: dict[str, Any]) -> None:
    """Replace old names of networks in a checkpoint's settings, in place.

    Args:
        content: the whole checkpoint.
        own: the project's part of it.
    """
    known = own.get(MODEL_NAMES, 0)
    settings = own.get("config", {}).get("model")
    for model in (settings, content.get("hyper_parameters")):
        if isinstance(model, dict) and isinstance(model.get("backbone"), str):
            model["backbone"] = current_model_name(model["backbone"], known)
    own[MODEL_NAMES] = len(RENAMINGS)


def run_header(version: str) -> str:
    """First line of the config.yaml of a run."""
    return f"# lit-cnn {version}, model names {len(RENAMINGS)}\n"


def names_known(text: str) -> int:
    """Number of renamings that were known when a config was written: all of them for one that no run wrote."""
    header = re.match(r"# lit-cnn [^\s,]+(?:, model names (\d+))?\n", text)
    return len(RENAMINGS) if header is None else int(header[1] or 0)
