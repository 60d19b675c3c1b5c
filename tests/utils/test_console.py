"""Lines and tables on terminals and elsewhere."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import pytest
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from lit_cnn.utils.console import PLAIN_WIDTH, console, say, show, width_of, wrap

LONG = "this is a long message about data/photos/train/cat that does not fit a narrow terminal at all"


class Terminal(io.StringIO):
    """A terminal of some width."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("width", [40, 80])
def test_a_message_is_wrapped_at_words_on_a_terminal_and_one_line_elsewhere(
    width: int, error: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "stderr" if error else "stdout"
    monkeypatch.setenv("COLUMNS", str(width))
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, name, stream)
        say(LONG, error=error)
        lines = stream.getvalue().splitlines()
        assert " ".join(lines) == LONG
        if stream.isatty():
            assert max(map(len, lines)) <= width
        else:
            assert len(lines) == 1


@pytest.mark.parametrize(
    "command", ["lit-cnn fit --resume lightning_logs/version_0/checkpoints/last.ckpt", "lit-cnn test --ckpt_path 'a b'"]
)
def test_a_command_at_the_end_of_a_message_stays_one_line_to_be_copied(command: str) -> None:
    lines = wrap(f"saved; resume with: {command}", 40).split("\n")
    assert lines[-1] == command
    assert lines[0] == "saved; resume with:"


def test_what_fits_stays_as_it_is_spaces_included() -> None:
    assert wrap("epoch  1/10   loss 0.4\n  indented", 40) == "epoch  1/10   loss 0.4\n  indented"


@pytest.mark.parametrize("columns", ["40", "0", "-3", "x", "100000", None])
def test_the_width_is_one_that_can_be_used(columns: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert width_of(io.StringIO()) >= 20
    if columns in ("0", "-3", "x", None):
        assert width_of(io.StringIO()) == PLAIN_WIDTH == 80


def tables() -> dict[str, Table]:
    """Tables like those of the commands: of numbers, of settings, of an evaluation."""
    layers = Table(title="resnet18", box=None, pad_edge=False)
    for head in ("layer", "kind", "output", "parameters", "MACs", "field", "stride", "centre"):
        layers.add_column(head, justify="right" if head in ("parameters", "MACs", "field", "stride") else "left")
    for _ in range(3):
        layers.add_row("layer2.0.downsample.0", "BatchNorm2d", "512x112x112", "102,760,448", "118 M", "3039", "32", "9")
    settings = Table(box=None, pad_edge=False)
    for head in ("setting", "was", "now", "from"):
        settings.add_column(head, overflow="fold")
    settings.add_row("trainer.default_root_dir", "-", "/a/very/long/path/" * 5, "flag")
    classes = Table(title="test: 3 images", box=SIMPLE, show_edge=False)
    classes.add_column("", overflow="fold")
    classes.add_column("value", justify="right")
    classes.add_column("images", justify="right")
    classes.add_row("accuracy", "0.8123", "")
    classes.add_section()
    classes.add_row("a class with a rather long name indeed 日本日本日本日本日本日本日本", "0.5000", "12,345")
    return {"layers": layers, "settings": settings, "classes": classes}


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("name", tables())
def test_a_table_fits_and_loses_nothing(name: str, width: int) -> None:
    table, out = tables()[name], io.StringIO()
    cells = [str(cell) for column in table.columns for cell in column.cells]
    cells += [str(column.header) for column in table.columns[1:]]  # a narrow table has no head for the first one
    show(table, Console(file=out, width=width))
    text = out.getvalue()
    assert all(Console(width=10**6).measure(line).maximum <= width for line in text.splitlines() if line.strip())
    shown = "".join(text.split())
    for word in " ".join(cells).split():
        if len(word) <= 8:
            assert word in shown
    letters = set("".join(cells)) - set(" ")
    assert letters <= set(text)


@pytest.mark.parametrize("stream", [None, io.StringIO(), Terminal()])
@pytest.mark.parametrize("term", ["dumb", "xterm", ""])
def test_a_console_can_be_made_whatever_standard_output_is(
    stream: Any, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stdout", stream)
    assert console().width == width_of(stream)


def test_a_pipe_gets_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    show(tables()["layers"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert "COLUMNS" not in os.environ


def test_control_characters_of_names_are_escaped(capsys):
    say("class a\x1b[31m, b\u202ec, d\x7f, plain é")
    assert capsys.readouterr().out == "class a\\x1b[31m, b\\u202ec, d\\x7f, plain é\n"
