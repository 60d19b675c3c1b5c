from __future__ import annotations

import json
from pathlib import Path

from benchmarks.allocator import KINDS, main


def test_both_ways_are_measured_in_processes_of_their_own(tmp_path: Path, capsys) -> None:
    path = tmp_path / "allocator.json"
    settings = {"backbone": "convnet", "size": 32, "batch-size": 4, "steps": 1, "rounds": 1, "json": path}
    main([f"--{name}={value}" for name, value in settings.items()])
    found = json.loads(path.read_text())
    assert {kind: len(rows[0]["seconds"]) for kind, rows in found["rows"].items()} == dict.fromkeys(KINDS, 1)
    assert f"{found['ratio']:.2f} times as fast" in capsys.readouterr().out
