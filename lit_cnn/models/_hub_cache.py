"""Which published weights are on this machine already: torch's cache of downloads. The network is not asked."""

from __future__ import annotations

import itertools
import os
from pathlib import Path


def is_cached(backbone: str) -> bool:
    """Whether the weights that ``model.weights=imagenet`` loads for a backbone are in torch's cache."""
    # expanduser returns "~" where there is no home; Path.home raises
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    hub = Path(os.environ.get("TORCH_HOME") or Path(cache, "torch")) / "hub" / "checkpoints"  # as torch.hub.get_dir()
    zoo, _, name = backbone.rpartition("/")
    name = name.removesuffix("_v1")
    found = hub.glob(f"{name}[-_]*-????????.pth"), hub.glob(f"{name}-????????.pth")  # authors are part of some names
    return zoo in ("", "torchvision") and any(f"{name}_bn" not in path.name for path in itertools.chain(*found))
