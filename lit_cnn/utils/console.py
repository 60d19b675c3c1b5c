"""Console output: lines, tables and progress bars, on rank zero only. All but bars go to the run's log too."""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lit_cnn.utils import run_log
from lit_cnn.utils.rank import is_rank_zero
from lit_cnn.utils.streams import is_terminal

if TYPE_CHECKING:  # rich is imported only when something is drawn
    from rich.console import Console
    from rich.progress import Progress, TaskID

PLAIN_WIDTH = 80  # columns of tables where there is no terminal to ask
_LEAST_WIDTH = 20
# Characters that would move the cursor or turn the text around, which names of files and classes may hold.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_COMMAND = re.compile(r"(?<=: )lit-cnn .*")  # at a line's end: to be copied whole


class _Style:
    """How messages spell settings; the command line replaces it by one that makes them flags."""

    format: Callable[[str], str] = staticmethod(lambda text: text)


def spell_settings_by(function: Callable[[str], str]) -> None:
    """Pass every line that :func:`say` and :class:`Display` write through ``function`` first."""
    _Style.format = staticmethod(function)


def say(line: str, *, error: bool = False, all_ranks: bool = False) -> None:
    """Print a line, on rank zero only. On a terminal it is wrapped at words, elsewhere it stays one line.

    Args:
        line: settings in it are between backticks, as in :class:`~lit_cnn.errors.UserError`.
        error: to standard error.
        all_ranks: on every rank, for what concerns this process alone.
    """
    if all_ranks or is_rank_zero():
        line = _Style.format(line)
        run_log.write(line)
        line = line.translate(_CONTROLS)
        stream = sys.stderr if error else sys.stdout
        print(wrap(line, width_of(stream)) if is_terminal(stream) else line, file=stream, flush=True)


def width_of(stream: Any) -> int:
    """Columns of a terminal, ``COLUMNS`` where that is set, else 80."""
    if is_terminal(stream) or "COLUMNS" in os.environ:
        return max(_LEAST_WIDTH, shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns)
    return PLAIN_WIDTH


def wrap(text: str, width: int) -> str:
    """Break lines at words; neither words nor a command at a line's end are broken, so that both can be copied."""
    out = []
    for line in text.split("\n"):
        command = _COMMAND.search(line)
        head = line[: command.start()].rstrip() if command and len(line) > width else line
        out += textwrap.wrap(head, width, break_long_words=False, break_on_hyphens=False) or [""]
        out += [command[0]] if command and len(line) > width else []
    return "\n".join(out)


def console() -> Console:
    """A rich console on standard output, as it is now."""
    from rich.console import Console

    terminal = is_terminal(sys.stdout)  # rich alone would believe FORCE_COLOR
    follows = terminal and os.environ.get("TERM", "") not in ("dumb", "unknown")  # a change of the terminal's width
    return Console(highlight=False, force_terminal=terminal, width=None if follows else width_of(sys.stdout))


def show(item: Any, screen: Console | None = None, **options: Any) -> None:
    """Print a table or a text of rich, and write it to the run's log.

    Args:
        item: a table is laid out for the console's width.
        screen: standard output by default.
        options: of rich's ``print``.
    """
    from rich.console import Console

    from lit_cnn.utils.table_layout import fit_table

    screen = console() if screen is None else screen
    screen.print(fit_table(item, screen), **options)
    if run_log.is_recording():
        plain = Console(file=io.StringIO(), highlight=False, force_terminal=False, width=PLAIN_WIDTH)
        plain.print(fit_table(item, plain), **options)
        run_log.write(plain.file.getvalue())  # type: ignore[attr-defined]  # the StringIO above


class Display:
    """Lines that stay and, on a terminal, a bar below them. Elsewhere there are no bars and no control characters.

    Args:
        console: Where to write; standard output by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._widest = {"label": 0, "count": 0}  # so far: what changes does not move the rest

    @property
    def console(self) -> Console:
        """Where this writes; what is printed there while a bar is up comes out above it."""
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
        run_log.write(text)
        if self.live:
            from rich.text import Text

            self.console.print(Text(wrap(text, self.console.width)), soft_wrap=True)
        else:  # not by rich, which breaks lines at 80 letters
            self.console.file.write(text + "\n")
            self.console.file.flush()

    def show(self, label: str, completed: int, total: float, text: str = "") -> None:
        """Draw the bar, or change what it shows; ``total`` may be infinite. Nothing without a terminal.

        There is one bar, and its parts keep their widths while it is up.
        """
        if not self.live:
            return
        if self._bars is None:
            from rich.progress import BarColumn, Progress, TextColumn
            from rich.table import Column

            plain = [
                TextColumn(f"{{task.{field}}}", markup=False, table_column=Column(no_wrap=True, overflow="crop"))
                for field in ("description", "fields[count]", "fields[text]")
            ]
            self._bars = Progress(
                plain[0],
                BarColumn(bar_width=None),
                *plain[1:],
                console=self.console,
                auto_refresh=False,  # no thread: the caller refreshes when there is something new
                transient=True,
                expand=True,
            )
            self._bars.start()
        size = total if math.isfinite(total) else None
        count = f"{completed}/{'?' if size is None else int(size)}"
        state: dict[str, Any] = {
            "description": self._pad("label", label),
            "total": size,
            "completed": completed,
            "count": self._pad("count", count.rjust(2 * len(count.partition("/")[2]) + 1)),
            "text": text,
        }
        if self._task is None:
            self._task = self._bars.add_task(**state)
        self._bars.update(self._task, refresh=True, **state)

    def _pad(self, part: str, text: str) -> str:
        self._widest[part] = max(self._widest[part], len(text))
        return text.rjust(self._widest[part]) if part == "count" else text.ljust(self._widest[part])

    def close(self) -> None:
        """Take the bar away and give the cursor back. Does no harm twice."""
        bars, self._bars, self._task = self._bars, None, None
        if bars is not None:
            bars.stop()
