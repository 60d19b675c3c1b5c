"""Loop progress: which checkpoints can be resumed exactly, and how those of a truncated epoch are written.

A truncated epoch is one that a limit, such as ``max_steps``, ended before its last batch.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

from lit_cnn.utils.lightning_internals import BATCHES_THAT_STEPPED


def epoch_is_truncated(trainer: Trainer) -> bool:
    """Whether the epoch has batches left; at its end, whether it ended early."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready < trainer.num_training_batches


def validation_follows(trainer: Trainer, done: int) -> bool:
    """Whether Lightning validates after batch number ``done`` (from 1) of this epoch."""
    every = trainer.val_check_batch
    if trainer.check_val_every_n_epoch is None:  # then batches are counted through the epochs
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return isinstance(every, int) and done % every == 0


def can_resume_exactly(trainer: Trainer) -> bool:
    """Whether a checkpoint saved now resumes to the same bits: nothing is half done that it does not hold."""
    done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    accumulating = done % trainer.accumulate_grad_batches != 0
    if _at_epoch_end(trainer):
        return not epoch_is_truncated(trainer) or not accumulating
    return (
        trainer.training and epoch_is_truncated(trainer) and not accumulating and not validation_follows(trainer, done)
    )


def mark_mid_epoch(trainer: Trainer, checkpoint: dict[str, Any]) -> bool:
    """Turn the checkpoint of a truncated epoch's end into one of its middle; returns whether it was one.

    Lightning counts the epoch as done and would resume at the next one. From the form left here it resumes at the next
    batch, and does not repeat a validation that was made after the last.

    Args:
        trainer: the run.
        checkpoint: changed in place.
    """
    if not (_at_epoch_end(trainer) and epoch_is_truncated(trainer)):
        return False
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
    for part in ("total", "current"):
        progress[part] = {**progress[part], "processed": progress[part]["processed"] - 1}
    if validation_follows(trainer, trainer.fit_loop.epoch_loop.batch_progress.current.ready):
        # the turn in which the validation is not repeated counts the step once more
        checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"][BATCHES_THAT_STEPPED] -= 1
    return True


def _at_epoch_end(trainer: Trainer) -> bool:
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return epochs.processed == epochs.ready
