"""Argument checks for constructors, called as ``check_int(growth_rate=growth_rate)`` so that the error names it.

All raise a ``ValueError`` of one line: the argument, what is accepted, and the refused value. ``True`` and ``False``
are not numbers here, and a string is neither a number nor a bool.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any


def check_int(at_least: int = 1, /, **values: Any) -> None:
    """Integers of at least ``at_least``."""
    _each(values, lambda v: _is_int(v) and v >= at_least, f"a whole number from {at_least} up")


def check_ints(shortest: int, longest: float = math.inf, /, **values: Any) -> None:
    """Lists or tuples of ``shortest`` to ``longest`` integers of at least 1."""
    if math.isinf(longest):
        what = "a list of whole numbers from 1 up" + (", maybe empty" if shortest == 0 else "")
    else:
        what = f"a list of {shortest if shortest == longest else f'{shortest} to {longest}'} whole numbers from 1 up"

    def right(value: Any) -> bool:
        if not isinstance(value, list | tuple) or not shortest <= len(value) <= longest:
            return False
        return all(_is_int(number) and number > 0 for number in value)

    _each(values, right, what)


def check_fraction(**values: Any) -> None:
    """Numbers from 0 to below 1, such as dropout probabilities."""
    _each(values, lambda v: _is_number(v) and 0 <= v < 1, "a number from 0 to below 1")


def check_positive(at_most: float = math.inf, /, **values: Any) -> None:
    """Finite numbers above 0, up to ``at_most``."""
    limit = "" if math.isinf(at_most) else f" and at most {at_most:g}"
    _each(values, lambda v: _is_number(v) and 0 < v <= at_most, f"a number over 0{limit}")


def check_bool(**values: Any) -> None:
    """Booleans."""
    _each(values, lambda v: isinstance(v, bool), "true or false")


def check_choice(allowed: Iterable[str], /, **values: Any) -> None:
    """One of the strings ``allowed``."""
    allowed = list(allowed)
    _each(values, lambda v: v in allowed, " or ".join(allowed))


def _each(values: dict[str, Any], right: Callable[[Any], bool], accepted: str) -> None:
    for name, value in values.items():
        if not right(value):
            raise ValueError(f"{name} must be {accepted}, got {value!r}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))
