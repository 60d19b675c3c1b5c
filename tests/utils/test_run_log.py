"""log.txt: every line of a run, whatever happens to the file."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest

from lit_cnn.utils import run_log
from lit_cnn.utils.console import Display, say
from lit_cnn.utils.streams import reliable_streams


def text(folder: Path) -> str:
    return (folder / "log.txt").read_text(encoding="utf-8")


def test_lines_from_before_the_folder_is_known_are_in_it_and_later_ones_at_once(tmp_path, capsys):
    with run_log.recording("$ lit-cnn fit"):
        say("before")
        run_log.write_to(tmp_path)
        say("after", error=True)
        Display().line("epoch 1/3")
        assert text(tmp_path) == "$ lit-cnn fit\nbefore\nafter\nepoch 1/3\n"
    say("outside")
    assert "outside" not in text(tmp_path)


def test_a_second_part_is_appended_behind_a_divider(tmp_path, capsys):
    for word in ("first", "second"):
        with run_log.recording(word):
            run_log.write_to(tmp_path)
    first, divider, second = text(tmp_path).split("\n\n")[0], "-" * 80, text(tmp_path).splitlines()[-1]
    assert (first, second) == ("first", "second")
    assert divider in text(tmp_path)


def test_warnings_and_messages_of_loggers_are_in_it(tmp_path, capsys):
    with warnings.catch_warnings(), run_log.recording():
        warnings.simplefilter("always")
        run_log.write_to(tmp_path)
        warnings.warn("a warning", stacklevel=1)
        logging.getLogger("lightning.pytorch").warning("a message")
    assert "a warning" in text(tmp_path)
    assert text(tmp_path).count("a message") == 1
    assert logging.lastResort is not None
    assert type(logging.lastResort).__module__ == "logging"


def test_control_characters_stay_out_and_all_letters_are_utf8(tmp_path, capsys):
    with reliable_streams(), run_log.recording():
        run_log.write_to(tmp_path)
        say("\x1b[1mbold\x1b[0m café 日本 🐱 \udce9\a")
    assert text(tmp_path) == "bold café 日本 🐱 \\udce9\n"


@pytest.mark.parametrize("fault", ["a folder in its place", "the run folder is gone", "not writable"])
def test_a_log_that_cannot_be_written_stops_nothing(fault, tmp_path, capsys):
    folder = tmp_path / "run"
    if fault != "the run folder is gone":
        folder.mkdir()
    if fault == "a folder in its place":
        (folder / "log.txt").mkdir()
    elif fault == "not writable":
        (folder / "log.txt").symlink_to("/dev/full")
    with run_log.recording("head"):
        run_log.write_to(folder)
        say("a line")
    assert "a line" in capsys.readouterr().out


def test_a_trial_is_not_in_it(tmp_path, capsys):
    with run_log.recording():
        say("one")
        with run_log.paused():
            say("trial")
        run_log.write_to(tmp_path)
    assert text(tmp_path) == "one\n"
