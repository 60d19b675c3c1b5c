from __future__ import annotations

import pytest
from lightning.pytorch import Callback

from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run
from tests.conftest import TINY


class Mine(Callback):
    pass


def names(*words: str) -> list[str]:
    """Classes of a run's callbacks, in the trainer's order."""
    return [type(c).__name__ for c in run(parse([*words]), callbacks=[Mine()]).trainer.callbacks]


@pytest.fixture(scope="module")
def order(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    words = [word for word in TINY if "progress_bar" not in word]
    return names(
        "fit", *words, "--steps=1", "--trainer.callbacks=RichModelSummary", "--model.ema_decay=0.9",
        f"--trainer.default_root_dir={root}",
    )  # fmt: skip


def test_the_order_of_callbacks_is_fixed(order):
    assert order == [
        "ProcessWatchdog",
        "RichModelSummary",
        "Mine",
        "Overview",
        "ProgressBar",
        "ThroughputReport",
        "StopReport",
        "RunMetadata",
        "NanGuard",
        "Curves",
        "BadImages",
        "CalibrateOnValidation",
        "FitOODDetector",
        "RunFacts",
        "TrainBatch",
        "ValidationReport",
        "TensorBoardExtras",
        "FeatureCache",
        "WeightEMA",
        "BestCheckpoint",
        "LastCheckpoint",
    ]


def test_evaluations_report_and_save_nothing(trained, workdir):
    checkpoint = trained / "checkpoints" / "best.ckpt"
    found = names("validate", f"--ckpt_path={checkpoint}", "--trainer.enable_progress_bar=false")
    assert found == ["ProcessWatchdog", "Mine", "EvaluationReport"]


def test_a_trial_run_keeps_nothing(workdir):
    assert names("fit", *TINY, "--trainer.fast_dev_run=true") == [
        "ProcessWatchdog",
        "Mine",
        "Overview",
        "StopReport",
        "FeatureCache",
    ]
