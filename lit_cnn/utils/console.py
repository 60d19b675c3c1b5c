"""Console output: lines, tables and progress bars, on rank zero only."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from lit_cnn.utils.rank import is_rank_zero

if TYPE_CHECKING:  # rich is imported only when something is drawn
    from rich.console import Console
    from rich.progress import Progress, TaskID

PLAIN_WIDTH = 160  # columns where there is no terminal to ask: broken words are hard to search for in a file


class _Style:
    """How messages spell settings; the command line replaces it by one that makes them flags."""

    format: Callable[[str], str] = staticmethod(lambda text: text)


def spell_settings_by(function: Callable[[str], str]) -> None:
    """Pass every line that :func:`say` and :class:`Display` write through ``function`` first."""
    _Style.format = staticmethod(function)


def say(line: str, *, error: bool = False, all_ranks: bool = False) -> None:
    """Print a line, on rank zero only.

    Args:
        line: settings in it are between backticks, as in :class:`~lit_cnn.errors.UserError`.
        error: to standard error.
        all_ranks: on every rank, for what concerns this process alone.
    """
    if all_ranks or is_rank_zero():
        print(_Style.format(line), file=sys.stderr if error else sys.stdout, flush=True)


def console() -> Console:
    """A rich console on standard output, as it is now."""
    from rich.console import Console

    terminal = sys.stdout.isatty()  # rich alone would believe FORCE_COLOR
    return Console(highlight=False, force_terminal=terminal, width=None if terminal else PLAIN_WIDTH)


class Display:
    """Lines that stay and, on a terminal, bars below them. Elsewhere there are no bars and no control characters.

    Args:
        console: Where to write; standard output by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    @property
    def console(self) -> Console:
        """Where this writes; what is printed there while bars are up comes out above them."""
        if self._console is None:
            self._console = console()
        return self._console

    @property
    def live(self) -> bool:
        """Whether there is a terminal to draw bars on."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def line(self, text: str) -> None:
        """Write a line that stays."""
        text = _Style.format(text)
        if self.live:
            from rich.text import Text

            self.console.print(Text(text), soft_wrap=True)
        else:  # not by rich, which breaks lines at 80 letters
            self.console.file.write(text + "\n")
            self.console.file.flush()

    def show(self, key: str, label: str, completed: int, total: float, text: str = "") -> None:
        """Draw the bar ``key``, a new one or as it is now; ``total`` may be infinite. Nothing without a terminal."""
        if not self.live:
            return
        if self._bars is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                console=self.console,
                auto_refresh=False,  # no thread: the caller refreshes when there is something new
                transient=True,
                expand=True,
            )
            self._bars.start()
        size = total if math.isfinite(total) else None
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(label, total=size, completed=completed, text=text)
        task = self._tasks[key]
        self._bars.update(task, description=label, total=size, completed=completed, text=text, refresh=True)

    def drop(self, key: str) -> None:
        """Take the bar ``key`` away."""
        if self._bars is not None and key in self._tasks:
            self._bars.remove_task(self._tasks.pop(key))

    def close(self) -> None:
        """Take all bars away and give the cursor back. Does no harm twice."""
        bars, self._bars, self._tasks = self._bars, None, {}
        if bars is not None:
            bars.stop()
