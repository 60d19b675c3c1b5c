"""Quantization to 8 bits: what it costs is measured, and the preprocessing stays exact."""

from __future__ import annotations

import numpy as np
import pytest

from lit_cnn.cli.main import main
from lit_cnn.export.formats import open_exported
from lit_cnn.export.int8 import accuracy_drop, milliseconds


def test_the_drop_is_the_difference_of_the_accuracies_and_its_interval_covers_it():
    drop = accuracy_drop(lost=8, gained=3, images=200)
    assert drop.value == pytest.approx(5 / 200)
    assert drop.low < 0 < drop.value < drop.high
    same = accuracy_drop(0, 0, 100)
    assert same.value == 0
    assert same.low == -same.high < 0  # nothing changed, and yet 100 images do not show that nothing can


def test_95_of_100_intervals_hold_the_true_drop():
    rng = np.random.default_rng(0)
    held = 0
    for lost, gained, _ in rng.multinomial(150, [0.05, 0.02, 0.93], 2000).tolist():
        score = accuracy_drop(lost, gained, 150)
        held += score.low <= 0.03 <= score.high
    assert 0.93 <= held / 2000 <= 0.99


def test_every_runner_is_timed_on_every_image():
    calls: list[int] = []
    runners = [lambda image, k=k: calls.append(k) or image for k in (1, 2)]
    assert len(milliseconds(runners, [np.zeros((2, 2, 1))] * 3, turns=2)) == 2
    assert calls.count(1) == calls.count(2) == 9


@pytest.mark.slow
def test_a_quantized_file_is_smaller_and_says_what_it_costs(trained, workdir, capsys):
    pytest.importorskip("onnxruntime")
    main(["export", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", "--int8", "--out=models"])
    assert "int8: accuracy drop " in capsys.readouterr().out
    about = open_exported(workdir / "models" / "best_int8.onnx").metadata
    before, after = about["int8"]["mb"]
    assert after < before
    assert about["int8"]["accuracy_drop"]["value"] < 0.05
    assert about["proof"]["largest_difference"] > 1e-4  # it is another network
    assert about["accuracy"]["images"] == 179
    main(["validate", "--ckpt_path=models/best_int8.onnx", "--trainer.enable_progress_bar=false"])
    assert "proof repeated on 179 images" in capsys.readouterr().out
