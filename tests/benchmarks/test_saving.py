from __future__ import annotations

import json
from pathlib import Path

from benchmarks.saving import main


def test_the_table_and_the_file_have_the_share_of_saving(tmp_path: Path, workdir: Path, capsys) -> None:
    path = tmp_path / "saving.json"
    main(["--backbone", "convnet_pooled", "--batch-size", "128", "--saves", "2", "--json", str(path)])
    found = json.loads(path.read_text())
    assert found["bytes"] > 100_000
    assert found["save"] > 0
    assert found["share"] == found["save"] / (100 * found["step"])
    assert f"{found['share']:.2%}" in capsys.readouterr().out
    assert list(workdir.glob("lightning_logs")) == []
