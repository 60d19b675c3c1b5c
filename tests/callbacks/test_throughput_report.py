"""The line about a fit's first steps."""

import re
import time

import pytest
from lightning.pytorch import Trainer

from lit_cnn.callbacks import throughput_report
from lit_cnn.callbacks.progress_bar import ProgressBar
from lit_cnn.callbacks.throughput_report import ThroughputReport
from lit_cnn.data import Digits
from lit_cnn.data.loading.loader import BatchLoader
from lit_cnn.tasks.classification import ImageClassifier

LINE = re.compile(
    r"first (\d+) steps: ([\d,]+) img/s, about ([\d.]+) s to go, peak memory [\d.]+ [MG]iB, waiting for data (\d+)%(.*)"
)


def told_text(capsys, epochs=2, steps=20, size=12, **settings):
    model = ImageClassifier(10, 1, "lenet_maxpool", backbone_args={"image_size": size})
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, logger=False, enable_checkpointing=False,
        enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[ProgressBar(), ThroughputReport(steps)], **settings,
    )  # fmt: skip
    trainer.fit(model, datamodule=Digits(batch_size=100, image_size=size))
    return capsys.readouterr().out


def told(capsys, **settings):
    return [found for line in told_text(capsys, **settings).splitlines() if (found := LINE.fullmatch(line))]


@pytest.mark.parametrize(
    ("steps", "measured"), [(5, 5), (20, 13 - throughput_report.WARM_UP)]
)  # 13 batches of 100 in an epoch
def test_it_is_printed_once_and_covers_the_first_epoch_if_that_is_shorter(steps, measured, capsys):
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


def test_advice_names_what_can_still_be_done(monkeypatch):
    class Loader:
        workers = 2

    class Fit:
        train_dataloader = Loader()
        num_devices = 1

        class datamodule:  # noqa: N801  # an attribute of that name
            cache = "none"

    monkeypatch.setattr(throughput_report, "num_cores", lambda processes: 4)
    assert throughput_report._advice(Fit()) == ": raise `data.workers` (now 2) or set `data.cache=disk`"
    monkeypatch.setattr(throughput_report, "num_cores", lambda processes: 2)
    assert throughput_report._advice(Fit()) == ": set `data.cache=disk`"
    Fit.datamodule.cache = "disk"
    assert throughput_report._advice(Fit()) == ""


def test_a_run_of_few_steps_reports_those(capsys):
    said = told_text(capsys, max_steps=throughput_report.WARM_UP + 2)
    assert said.count("first 2 steps: ") == 1
    assert "to go" not in said


def test_validation_does_not_count(capsys, monkeypatch):
    evaluate = ImageClassifier.validation_step

    def slow(self, batch, batch_idx):
        time.sleep(0.2)
        return evaluate(self, batch, batch_idx)

    plain = speed_told(capsys)
    monkeypatch.setattr(ImageClassifier, "validation_step", slow)
    # two validations within the measured steps of an epoch of 13
    assert speed_told(capsys, val_check_interval=5) > plain / 4


def speed_told(capsys, **settings):
    return float(re.search(r"steps: ([\d,.]+) img/s", told_text(capsys, **settings))[1].replace(",", ""))
