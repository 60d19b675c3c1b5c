"""The config files that come with lit-cnn. Standard library only."""

from __future__ import annotations

from pathlib import Path

import lit_cnn


def shipped_configs() -> dict[str, Path]:
    """Their files by name. An installed package holds them as ``lit_cnn/configs``, a checkout as ``configs``."""
    package = Path(lit_cnn.__file__).parent
    for folder in (package / "configs", package.parent / "configs"):
        if found := sorted(folder.glob("*.yaml")):
            return {path.stem: path for path in found}
    return {}
