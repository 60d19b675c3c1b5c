"""Mistakes a user can fix, told in one line. Imports nothing, so that every package may use it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can fix. The message is plain English: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def nearest(name: str, choices: Iterable[str], limit: int = 3) -> str:
    """Return ``", did you mean 'a' or 'b'?"`` for the choices spelled most like ``name``, or ``""``."""
    choices = list(choices)
    close = difflib.get_close_matches(name, choices, n=limit, cutoff=0.6)
    if not close:
        by_lower = {choice.lower(): choice for choice in choices}
        close = [by_lower[c] for c in difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.6)]
    if not close:
        return ""
    return ", did you mean " + " or ".join(repr(c) for c in close) + "?"
