"""The console that tables and lines are printed to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 160  # columns where there is no terminal to ask: broken words are hard to search for in a file


def console() -> Console:
    """A console on standard output, as it is now."""
    from rich.console import Console  # only when something is printed

    terminal = sys.stdout.isatty()  # rich alone would believe FORCE_COLOR
    return Console(highlight=False, force_terminal=terminal, width=None if terminal else PLAIN_WIDTH)
