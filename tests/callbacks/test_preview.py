"""The line about a fit's first steps."""

import re
import time

import pytest
from lightning.pytorch import Trainer

from lit_cnn.callbacks import preview
from lit_cnn.callbacks.preview import Preview
from lit_cnn.callbacks.progress import Progress
from lit_cnn.data import Digits
from lit_cnn.data.loader import BatchLoader
from lit_cnn.task import ImageClassifier

LINE = re.compile(
    r"first (\d+) steps: ([\d,]+) img/s, about ([\d.]+) s to go, peak memory [\d.]+ [MG]iB, waiting for data (\d+)%(.*)"
)


def told(capsys, data=None, epochs=2, steps=20, size=12):
    model = ImageClassifier(10, 1, "lenet_maxpool", backbone_args={"image_size": size})
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, logger=False, enable_checkpointing=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[Progress(), Preview(steps)],
    )  # fmt: skip
    trainer.fit(model, datamodule=data or Digits(batch_size=100, image_size=size))
    return [found for line in capsys.readouterr().out.splitlines() if (found := LINE.fullmatch(line))]


@pytest.mark.parametrize(("steps", "measured"), [(5, 5), (20, 13 - preview.WARM_UP)])  # 13 batches of 100 in an epoch
def test_it_is_told_once_and_of_the_first_epoch_if_that_is_shorter(steps, measured, capsys):
    (line,) = told(capsys, steps=steps)
    assert int(line[1]) == measured
    assert line[5] == ""  # nothing feeds arrays faster


def test_waiting_is_what_the_loader_took_to_hand_out_a_batch(capsys, monkeypatch):
    start = BatchLoader._start

    def slow(self, rows, epoch):
        time.sleep(0.05 if self.shuffle else 0.0)
        return start(self, rows, epoch)

    monkeypatch.setattr(BatchLoader, "_start", slow)
    (line,) = told(capsys, epochs=1)
    assert int(line[4]) >= 50  # a step of this network takes a few milliseconds


def test_advice_names_what_the_data_have(monkeypatch):
    class Loader:
        workers = 2

    class Fit:
        train_dataloader = Loader()

        class datamodule:  # noqa: N801  # an attribute of that name
            cache = "none"

    assert preview._advice(Fit()) == ": raise --workers (now 2) or set --data.cache disk"
    Fit.datamodule.cache = "disk"
    assert preview._advice(Fit()) == ": raise --workers (now 2)"
