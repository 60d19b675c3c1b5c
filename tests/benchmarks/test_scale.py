from __future__ import annotations

import json
from pathlib import Path

from benchmarks.scale import main


def test_the_table_tells_time_and_memory_for_data_and_processes(tmp_path: Path, capsys) -> None:
    path = tmp_path / "scale.json"
    small = ["--side", "32", "--image-size", "32", "--batch-size", "8", "--epochs", "2"]
    main(["--unit", "24", "--factors", "2", *small, "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert [(row["factor"], row["images"], row["ranks"]) for row in rows] == [(2, 48, 1), (2, 48, 2)]
    assert rows[0]["store"] == rows[1]["store"] > 0
    assert all(row["epoch_seconds"] > 0 and row["resident"] > row["private"] > 0 for row in rows)
    assert "2x" in capsys.readouterr().out
