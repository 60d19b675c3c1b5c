"""The data modules have what tasks and callbacks ask of one."""

from __future__ import annotations

import pytest
from lightning.pytorch import Trainer

from lit_cnn.data import Digits
from lit_cnn.utils.datamodule import DataModule, datamodule, find_datamodule


def test_image_sets_have_every_member_of_the_protocol():
    assert isinstance(Digits(), DataModule)


def test_a_trainer_without_a_data_module_is_refused():
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert find_datamodule(trainer) is None
    with pytest.raises(TypeError, match="no data module"):
        datamodule(trainer)
