from __future__ import annotations

import json

import pytest

from benchmarks import gpu
from benchmarks.gpu import main


@pytest.mark.slow
def test_each_part_ends_in_a_row(workdir, monkeypatch):
    monkeypatch.setattr(gpu, "RUNS", {"bfloat16": gpu.RUNS["bfloat16"]})
    monkeypatch.setattr(gpu, "speedrun", lambda device, data_dir: "speedrun took no time")  # minutes on a CPU
    monkeypatch.setattr(gpu, "resume", lambda device, flags: 1 / 0)
    main(["--device=cpu", "--json=found.json"])
    rows = json.loads((workdir / "found.json").read_text())["rows"]
    assert "img/s; bare loop" in rows["step, bfloat16"]
    assert rows["speedrun"] == "speedrun took no time"
    assert rows["resume, --deterministic"] == "failed: ZeroDivisionError: division by zero"  # the others still count
