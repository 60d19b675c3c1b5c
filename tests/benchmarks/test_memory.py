from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import memory
from tests.faults.harness import CONTEXT


def check_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "memory.json"
    memory.main(["--unit", "8", "--side", "64", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert [row["factor"] for row in rows] == [1, 2, 4, 8, 8]
    assert [row["processes"] for row in rows] == [1, 1, 1, 1, 2]
    assert rows[3]["bytes"] == 8 * rows[0]["bytes"] == 8 * 8 * 64 * 64 * 3
    assert all(row["private"] > 0 and row["seconds"] > 0 for row in rows)
    assert "8x" in capsys.readouterr().out


def test_the_table_has_time_and_memory_for_growing_data(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(memory.multiprocessing, "get_context", lambda kind: CONTEXT)  # forks, torch imported once
    check_table(tmp_path, capsys)


@pytest.mark.slow
def test_the_table_has_time_and_memory_of_fresh_processes(tmp_path: Path, capsys) -> None:
    check_table(tmp_path, capsys)
