from __future__ import annotations

import json
from pathlib import Path

from benchmarks.feed import main


def test_the_table_and_the_file_have_the_speeds_of_all_kinds(tmp_path: Path, capsys) -> None:
    path = tmp_path / "feed.json"
    settings = {"images": 64, "photos": 8, "size": 32, "batch-size": 8, "repeats": 1, "json": path}
    main([f"--{name}={value}" for name, value in settings.items()])
    found = json.loads(path.read_text())
    assert list(found["small"]) == ["torchvision, 2 processes", "gather", "lit-cnn"]
    assert "lit-cnn, cache disk, first epoch" in found["photos"]
    assert min(*found["small"].values(), *found["photos"].values()) > 0
    assert f"{found['photos']['lit-cnn, cache disk, later epochs']:,.0f} img/s" in capsys.readouterr().out
