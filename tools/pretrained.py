"""The default pretrained weights of each model of torchvision and timm, and their accuracy where it is published.

Used by ``python -m tools.measure_zoos`` and ``python -m tools.measure_models``.
"""

from __future__ import annotations

from typing import Any

from lit_cnn.models import MODELS
from lit_cnn.models._external import timm_module, torchvision_models


def pretrained(name: str) -> dict[str, Any]:
    """The fields ``weights`` and ``top1`` of a model's :class:`~lit_cnn.inspection.figures.Figures`.

    torchvision's are the weights that ``model.weights=imagenet`` loads, for this package's models too. timm's package
    has no accuracies.
    """
    zoo, slash, short = name.partition("/")
    if not slash:
        twin = MODELS[name].torchvision
        return pretrained(f"torchvision/{twin}") if twin else {}
    if zoo == "timm":
        config = timm_module().get_pretrained_cfg(short)
        return {"weights": config.tag or "untagged"} if config.has_weights else {}
    weights = torchvision_models().get_model_weights(short).DEFAULT
    return {"weights": weights.name, "top1": weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]}
