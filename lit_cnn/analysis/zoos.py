"""Figures of other zoos' models, from what they publish about them and, in timm's case, by counting."""

from __future__ import annotations

import re
import time
from typing import Any

from lit_cnn.analysis.figures import Figures
from lit_cnn.models.external import timm_module, torchvision_models

_ARXIV = re.compile(r"`([^`<]+?)\s*<https?://arxiv\.org/\w+/((\d\d)\d\d\.\d+)", re.DOTALL)


def torchvision_figures(name: str) -> Figures:
    """Figures of ``torchvision/NAME``, published with its weights."""
    models, short = torchvision_models(), name.partition("/")[2]
    meta: dict[str, Any] = models.get_model_weights(short).DEFAULT.meta
    paper, year = "", None
    found = _ARXIV.search(models.get_model_builder(short).__doc__ or "")
    if found:
        paper = f"{' '.join(found[1].split())}, arXiv {found[2]}"
        year = 2000 + int(found[3])
    # Some need more than the default 224; the transform that belongs to the weights knows.
    side = models.get_model_weights(short).DEFAULT.transforms().crop_size[0]
    return Figures(
        parameters=meta["num_params"],
        macs=round(meta["_ops"] * 1e9),
        image=(3, side, side),
        classes=len(meta["categories"]),
        smallest=min(meta["min_size"]),
        year=year,
        paper=paper,
    )


FEW = 3


def timm_figures(names: list[str], seconds: float) -> dict[str, Figures]:
    """Figures of ``timm/NAME``, counted if they are few, else for as many as the time allows.

    The rest have only what timm tells without building them.
    """
    import torch

    from lit_cnn.models.inspect import inspect_layers
    from lit_cnn.models.sizes import smallest_input

    end = time.monotonic() + seconds
    out: dict[str, Figures] = {}
    for name in names:
        short = name.partition("/")[2]
        config = timm_module().get_pretrained_cfg(short)
        image = tuple(config.input_size) if config else None
        figures = Figures(image=image, paper=_timm_paper(config))
        if len(names) <= FEW or time.monotonic() < end:
            with torch.device("meta"):
                model = timm_module().create_model(short)
            channels, height, width = image or (3, 224, 224)
            whole = inspect_layers(model, (height, width), channels)[0]
            figures = figures._replace(
                parameters=whole.parameters,
                macs=whole.macs,
                classes=whole.output[0] if len(whole.output) == 1 else None,
                smallest=smallest_input(model, channels),
            )
        out[name] = figures
    return out


def _timm_paper(config: Any) -> str:
    papers = getattr(config, "paper_ids", None) or ""
    return papers if isinstance(papers, str) else ", ".join(papers)
