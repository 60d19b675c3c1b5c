"""What a validation during training chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lit_cnn.callbacks import calibration
from lit_cnn.callbacks.calibration import CalibrateOnValidation
from lit_cnn.checkpoint.record import CALIBRATION, KEY
from lit_cnn.results.calibration import calibrate
from tests.callbacks.tiny_run import TinyData, TinyLoader, TinyModel, tiny_trainer


def fitted(**kwargs: Any) -> tuple[CalibrateOnValidation, np.ndarray, np.ndarray]:
    """The callback after a fit, and the target and probabilities of the validation images by the final weights."""
    callback, model = CalibrateOnValidation(), TinyModel()
    tiny_trainer(callback, **kwargs).fit(model, datamodule=TinyData())
    batches = list(TinyLoader(10, 4, 0, 1))
    with torch.no_grad():
        probs = torch.cat([model(batch.image) for batch in batches]).softmax(1)
    return callback, torch.cat([batch.target for batch in batches]).numpy(), probs.numpy()


def test_it_is_chosen_by_the_last_validation() -> None:
    callback, target, probs = fitted()
    assert callback.found is not None
    assert callback.found == calibrate(target, probs)
    assert callback.found.images == 10


def test_of_many_probabilities_evenly_spaced_images_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MOST_CELLS", 18)  # 3 batches of up to 4 images, 3 classes: every 2nd image
    callback, target, probs = fitted()
    assert callback.found == calibrate(target[::2], probs[::2])


def test_a_trial_validation_before_training_chooses_nothing() -> None:
    callback, *_ = fitted(num_sanity_val_steps=2, limit_val_batches=3, max_steps=0)
    assert callback.found is None


def test_a_checkpoint_keeps_it_until_the_next_validation() -> None:
    callback, *_ = fitted()
    stored: dict[str, Any] = {KEY: {}}
    trainer, model = tiny_trainer(), TinyModel()
    callback.on_save_checkpoint(trainer, model, stored)
    assert set(map(type, stored[KEY][CALIBRATION].values())) == {float, int}  # plain: loaded without running code
    resumed = CalibrateOnValidation()
    resumed.on_load_checkpoint(trainer, model, stored)
    assert resumed.found == callback.found
    resumed.on_load_checkpoint(trainer, model, {})
    assert resumed.found is None
