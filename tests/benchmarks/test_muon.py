from __future__ import annotations

from benchmarks import muon


def test_both_precisions_are_timed(capsys):
    muon.main(["--backbone=lenet", "--turns=1"])
    out = capsys.readouterr().out
    assert "float32: " in out
    assert "bfloat16: " in out
