"""Settings of the runs of a sweep: combined to a grid, and as names and flags."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SEED = "seed_everything"
Settings = dict[str, Any]


def grid(
    axes: Mapping[str, Sequence[Any]], listed: Sequence[Settings] = (), seeds: Sequence[int] = ()
) -> list[Settings]:
    """All combinations of the values of a grid, of each listed run and of seeds, in this order.

    Args:
        axes: values by the name of a setting.
        listed: settings of runs that are no grid; every one is combined with the grid.
        seeds: values of ``seed_everything``.
    """
    axes = {**axes, SEED: seeds} if seeds else axes
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return [{**own, **combination} for own in (listed or [{}]) for combination in combinations]


def name_parts(settings: Settings) -> list[str]:
    """What tells a run's name from those of others: the values, and the name of a number or a truth."""
    parts = []
    for name, value in settings.items():
        short = "seed" if name == SEED else name.rpartition(".")[2]
        text = re.sub(
            r"[^\w.+=,-]+", "-", value if isinstance(value, str) and not _is_number(value) else f"{short}{value}"
        )
        parts.append(text.strip("-. ") or short)
    return parts


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+.\de]+|true|false|null", text.lower()) is not None


def flags(settings: Settings) -> Iterator[str]:
    """Words of a command line for some settings."""
    for name, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        yield f"--{name}={text}"
