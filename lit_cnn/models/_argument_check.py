"""Checks of what a network is built with, called as ``whole(growth_rate=growth_rate)`` so that the error names it.

All raise ``ValueError`` with one line: the argument, what is accepted, and the value that is not. ``True`` and
``False`` are no numbers here, and no text stands for a number or a switch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any


def whole(at_least: int = 1, /, **values: Any) -> None:
    """Whole numbers from ``at_least`` up."""
    _each(values, lambda v: _is_whole(v) and v >= at_least, f"a whole number from {at_least} up")


def wholes(fewest: int, most: float = math.inf, /, **values: Any) -> None:
    """Lists (or tuples) of ``fewest`` to ``most`` whole numbers from 1 up."""
    if math.isinf(most):
        what = "a list of whole numbers from 1 up" + (", maybe empty" if fewest == 0 else "")
    else:
        what = f"a list of {fewest if fewest == most else f'{fewest} to {most}'} whole numbers from 1 up"

    def right(value: Any) -> bool:
        if not isinstance(value, list | tuple) or not fewest <= len(value) <= most:
            return False
        return all(_is_whole(number) and number > 0 for number in value)

    _each(values, right, what)


def share(**values: Any) -> None:
    """Numbers from 0 to below 1, as dropout takes them: with 1 nothing would be left."""
    _each(values, lambda v: _is_number(v) and 0 <= v < 1, "a number from 0 to below 1")


def positive(at_most: float = math.inf, /, **values: Any) -> None:
    """Finite numbers over 0, up to ``at_most``."""
    limit = "" if math.isinf(at_most) else f" and at most {at_most:g}"
    _each(values, lambda v: _is_number(v) and 0 < v <= at_most, f"a number over 0{limit}")


def switch(**values: Any) -> None:
    """True or false."""
    _each(values, lambda v: isinstance(v, bool), "true or false")


def choice(allowed: Iterable[str], /, **values: Any) -> None:
    """One of the texts ``allowed``."""
    allowed = list(allowed)
    _each(values, lambda v: v in allowed, " or ".join(allowed))


def _each(values: dict[str, Any], right: Callable[[Any], bool], accepted: str) -> None:
    for name, value in values.items():
        if not right(value):
            raise ValueError(f"{name} must be {accepted}, got {value!r}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))
