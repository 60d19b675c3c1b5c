from __future__ import annotations

import pytest

from lit_cnn.checkpoint.record import read_record
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.checkpoint_argument import find_record
from lit_cnn.cli.commands.average import main
from lit_cnn.errors import UserError
from tests.checkpoint.test_averaging import network, save


def test_the_command_averages_into_a_file_that_evaluates_and_that_no_resume_takes(tmp_path, capsys):
    paths = [str(save(tmp_path / f"{i}.ckpt", network(i), i)) for i in (1, 2)]
    output = tmp_path / "out" / "averaged.ckpt"
    main(["average", *paths, "-o", str(output)])
    assert capsys.readouterr().out == f"average of 2 checkpoints (steps 1, 2): {output}\n"
    assert read_record(output).step == 2
    assert find_record(Arguments("test", ckpt_path=str(output)), tmp_path) is not None
    with pytest.raises(UserError, match="no optimizer state to resume"):
        find_record(Arguments("fit", ckpt_path=str(output)), tmp_path)
