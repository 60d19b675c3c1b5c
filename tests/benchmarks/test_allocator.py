from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import allocator
from benchmarks.allocator import KINDS, main


def check_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "allocator.json"
    settings = {"backbone": "convnet_pooled", "size": 32, "batch-size": 4, "steps": 1, "rounds": 1, "json": path}
    main([f"--{name}={value}" for name, value in settings.items()])
    found = json.loads(path.read_text())
    assert {kind: len(rows[0]["seconds"]) for kind, rows in found["rows"].items()} == dict.fromkeys(KINDS, 1)
    assert f"{found['ratio']:.2f} times as fast" in capsys.readouterr().out


def test_both_ways_are_measured(tmp_path: Path, capsys, monkeypatch) -> None:
    def run_here(command: list[str], **kwargs: object) -> SimpleNamespace:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            main(command[3:])
        return SimpleNamespace(stdout=printed.getvalue())

    monkeypatch.setattr(allocator.subprocess, "run", run_here)
    check_table(tmp_path, capsys)


@pytest.mark.slow
def test_both_settings_are_measured_in_separate_processes(tmp_path: Path, capsys) -> None:
    check_table(tmp_path, capsys)
