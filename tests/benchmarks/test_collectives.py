from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_table_has_a_cost_for_everything_that_ranks_exchange(tmp_path: Path) -> None:
    # in a process of its own, since the ranks are forked and this one has threads
    command = [sys.executable, "-m", "benchmarks.collectives", "--ranks", "2", "--repeats", "2", "--images", "10"]
    subprocess.run([*command, "--json", str(tmp_path / "found.json")], check=True, capture_output=True, timeout=200)
    (row,) = json.loads((tmp_path / "found.json").read_text())["rows"].values()
    assert row.keys() == {"flags", "gather", "ddp", "fsdp", "connect", "idle", "death"}
    assert all(value >= 0 for value in row.values())
