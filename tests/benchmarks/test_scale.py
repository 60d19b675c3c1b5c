from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import scale


def check_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scale.json"
    small = ["--side", "32", "--image-size", "32", "--batch-size", "8", "--epochs", "2"]
    scale.main(["--unit", "24", "--factors", "2", *small, "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert [(row["factor"], row["images"], row["ranks"]) for row in rows] == [(2, 48, 1), (2, 48, 2)]
    assert rows[0]["store"] == rows[1]["store"] > 0
    assert all(row["epoch_seconds"] > 0 and row["resident"] > row["private"] > 0 for row in rows)
    assert "2x" in capsys.readouterr().out


def test_the_table_has_time_and_memory_for_data_and_ranks(workdir: Path, capsys, monkeypatch) -> None:
    def run_here(command: list[str], env: dict[str, str], **kwargs: object) -> SimpleNamespace:
        """One process is trained here and stands for all."""
        folder, *words = command[command.index("--train") + 1 :]
        for name in ("RANK", "LIT_CNN_CACHE"):
            monkeypatch.setenv(name, {"RANK": "0", **env}[name])
        scale.train(Path(folder), [*words, "--trainer.devices=1", "--trainer.strategy=auto"])
        shutil.copy(Path(folder, "0.json"), Path(folder, "1.json"))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(scale, "subprocess", SimpleNamespace(run=run_here))  # others start processes too
    check_table(workdir, capsys)


@pytest.mark.slow
def test_the_table_has_time_and_memory_of_real_processes(tmp_path: Path, capsys) -> None:
    check_table(tmp_path, capsys)
