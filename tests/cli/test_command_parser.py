"""Commands without settings answer a mistake in one line, as all others do."""

from __future__ import annotations

import pytest

from lit_cnn.cli.main import main


@pytest.mark.parametrize("words", ["models --foo", "models a b", "runs --epochs 3", "inspect", "completion foo"])
def test_a_wrong_word_is_answered_in_one_line(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    command = words.split()[0]
    line = capsys.readouterr().err
    assert line.startswith("lit-cnn: error: ")
    assert line.endswith(f"; see lit-cnn {command} --help\n")
    assert line.count("\n") == 1
