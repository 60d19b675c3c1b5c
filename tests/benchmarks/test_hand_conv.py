from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks.hand_conv import main


def test_the_table_and_the_json_file_have_the_same_times(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "result.json"
    main(["--steps", "2", "--batch-size", "4", "--device", "cpu", "--json", str(path)])
    printed, record = capsys.readouterr().out, json.loads(path.read_text(encoding="utf-8"))
    assert (record["device"], record["steps"], record["batch_size"]) == ("cpu", 2, 4)
    assert record["torch"] == torch.__version__
    seconds = record["seconds_per_step"]
    assert record["ratio"] == pytest.approx(seconds["HandConv2d"] / seconds["nn.Conv2d"])
    rows = dict(re.findall(r"^(nn\.Conv2d|HandConv2d) +([\d.]+) ", printed, re.MULTILINE))
    assert {name: float(time) for name, time in rows.items()} == {
        name: pytest.approx(value * 1000, abs=0.006) for name, value in seconds.items()
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "argument --steps: must be 1 or more, got 0"),
        (["--device", "gpu"], "argument --device: cannot compute on 'gpu'"),
        (["--json", "missing/result.json"], "argument --json: there is no folder missing"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err.splitlines()[-1]
