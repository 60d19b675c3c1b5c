from __future__ import annotations

import pytest

from benchmarks import recipe_parts
from tests.conftest import write_pictures


@pytest.mark.slow
def test_a_row_has_accuracy_and_interval_on_all_test_images(workdir, capsys, monkeypatch):
    monkeypatch.setattr(recipe_parts, "IMAGES", 4)
    monkeypatch.setattr(recipe_parts, "TEST", 1)
    for split, seed in (("train", 0), ("test", 100)):
        for number in range(10):
            write_pictures(workdir / "data" / "cifar10" / split / str(number), 6, seed + number, size=8)
    recipe_parts.main(["data", "--epochs=1", "--only", "class weights"])
    out = capsys.readouterr().out.split()
    assert out[:3] == ["uneven", "class", "weights"]
    assert 0 <= float(out[3]) <= 1
