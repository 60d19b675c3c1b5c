"""The load benchmark on a few requests: its table and file are complete."""

from __future__ import annotations

import json

import pytest

from benchmarks import serve


@pytest.mark.slow
def test_every_size_of_the_batches_takes_its_turn_and_all_requests_are_answered(trained, workdir, capsys):
    words = [f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", "--requests=40", "--clients=4", "--rounds=1"]
    serve.main([*words, f"--json={workdir / 'out.json'}"])
    turns = json.loads((workdir / "out.json").read_text())["turns"]
    assert {size: len(found) for size, found in turns.items()} == {"1": 1, "16": 1}
    assert turns["1"][0]["images_a_batch"] == 1
    assert 1 <= turns["16"][0]["images_a_batch"] <= 4
    assert 0 < turns["16"][0]["p50"] <= turns["16"][0]["p99"]
    assert "batches of 16 against 1: " in capsys.readouterr().out
    assert [path.name for path in workdir.iterdir()] == ["out.json"]
