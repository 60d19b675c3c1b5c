"""best.ckpt where epochs have the same score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.callbacks.best_checkpoint import BestCheckpoint
from tests.callbacks.tiny_run import TinyData, TinyModel, tiny_trainer


class Scripted(Callback):
    """Replaces an epoch's metrics by given ones, before they are judged."""

    def __init__(self, acc: list[float], loss: list[float]) -> None:
        self.acc, self.loss = acc, loss

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log_dict({"val/acc": self.acc[trainer.current_epoch], "val/loss": self.loss[trainer.current_epoch]})


class Quiet(TinyModel):
    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.predict_step(batch, batch_idx)


def best_epoch(folder: Path, acc: list[float], loss: list[float], monitor: str = "val/acc", mode: str = "max") -> int:
    best = BestCheckpoint(folder, "best", monitor=monitor, mode=mode, save_on_train_epoch_end=True)
    trainer = tiny_trainer(Scripted(acc, loss), best, max_epochs=len(acc), enable_checkpointing=True)
    trainer.fit(Quiet(), datamodule=TinyData())
    return int(torch.load(folder / "best.ckpt", weights_only=True)["epoch"])


def test_equal_scores_go_to_the_lower_loss(tmp_path: Path) -> None:
    assert best_epoch(tmp_path, [0.5, 0.75, 0.75, 0.75], [9, 2, 1, 3]) == 2


def test_a_higher_score_wins_over_a_lower_loss(tmp_path: Path) -> None:
    assert best_epoch(tmp_path, [0.75, 0.5], [2, 1]) == 0


def test_the_first_of_epochs_equal_in_both_is_kept(tmp_path: Path) -> None:
    assert best_epoch(tmp_path, [0.75, 0.75], [1, 1]) == 0


def test_a_monitored_loss_has_no_ties_to_break(tmp_path: Path) -> None:
    assert best_epoch(tmp_path, [0.1, 0.2, 0.3], [2, 1, 1], "val/loss", "min") == 1


def test_a_nan_loss_does_not_win_a_tie(tmp_path: Path) -> None:
    assert best_epoch(tmp_path, [0.75, 0.75], [1, float("nan")]) == 0


@pytest.mark.parametrize("stored", [{"tie_loss": 1.0}, {}])
def test_a_resume_goes_on_comparing_with_the_stored_loss(tmp_path: Path, stored: dict[str, float]) -> None:
    best = BestCheckpoint(tmp_path, "best", monitor="val/acc", mode="max")
    state = {**best.state_dict(), "best_model_score": torch.tensor(0.5), "tie_loss": None, **stored}
    best.load_state_dict(state)
    assert best.state_dict()["tie_loss"] == stored.get("tie_loss")
