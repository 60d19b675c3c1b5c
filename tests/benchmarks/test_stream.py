from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import stream


def test_the_tables_and_the_json_file_have_the_same_kinds(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LIBRARIES", {"another": ("no_such_library", stream.litdata_kind)})
    path = tmp_path / "result.json"
    main = ["--images", "24", "--shard-kb", "20", "--batch-size", "8", "--repeats", "1", "--json", str(path)]
    stream.main(main)
    printed, record = capsys.readouterr().out, json.loads(path.read_text(encoding="utf-8"))
    assert "another is skipped: No module named 'no_such_library'" in printed
    assert list(record["reading"]) == list(record["resuming"]) == ["folder", "lit-cnn Stream", "webdataset"]
    assert len(record["feeding"]) == 4
    for table in ("reading", "resuming", "feeding"):
        for name, value in record[table].items():
            assert name in printed
            assert value > 0
