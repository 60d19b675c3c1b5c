from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lit_cnn.cli.main import main
from lit_cnn.tasks.tta import average_logits
from tests.conftest import load

IMAGE = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(4, 3 * 5 * 6, generator=torch.Generator().manual_seed(1))


def network(image):
    return F.linear(image.flatten(1), WEIGHT)


def shifted(image, by):
    """Each pixel from ``by`` further down and right, mirrored at the border."""
    rows, cols = ([min(abs(i + by), 2 * (n - 1) - (i + by)) for i in range(n)] for n in image.shape[-2:])
    return image[:, :, rows][:, :, :, cols]


@pytest.mark.parametrize(
    ("how", "copies"),
    [
        ("none", [(1, 0, False)]),
        ("flip", [(1 / 2, 0, False), (1 / 2, 0, True)]),
        (
            "flip_shift",
            [(1 / 4, 0, False), (1 / 4, 0, True)] + [(1 / 8, by, flip) for by in (-1, 1) for flip in (False, True)],
        ),
    ],
)
def test_logits_are_the_weighted_mean_over_the_published_copies(how, copies):
    expected = 0
    for weight, by, flip in copies:
        copy = shifted(IMAGE, by)
        expected = expected + weight * network(copy.flip(-1) if flip else copy)
    torch.testing.assert_close(average_logits(network, IMAGE, how), expected)


def test_it_is_the_checkpoints_and_can_be_changed_when_testing(workdir: Path):
    small = ["--data=Digits", "--model.backbone=lenet_maxpool", "--trainer.enable_progress_bar=false"]
    main(["fit", *small, "--epochs=1", "--model.tta=flip"])
    run = workdir / "lightning_logs" / "version_0"
    assert load(run / "checkpoints" / "best.ckpt")["lit_cnn"]["config"]["model"]["tta"] == "flip"

    def probabilities(folder: str) -> list[dict[str, str]]:
        with (run / folder / "predictions.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    for words in ([], ["--model.tta=none"], ["--model.tta=flip"]):
        main(["test", "--ckpt_path=best", "--trainer.enable_progress_bar=false", *words])
    tables = [probabilities(folder.name) for folder in sorted(run.glob("test*"), key=lambda p: p.stat().st_mtime_ns)]
    assert len(tables) == 3
    assert tables[0] == tables[2]
    assert tables[0] != tables[1]
