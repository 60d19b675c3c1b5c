"""Lightning's callbacks that work do so in fit and in an exact resume, and say what they were asked to."""

from __future__ import annotations

import re

import pytest
import yaml

from lit_cnn.cli.main import main
from lit_cnn.cli.trainer_classes import CALLBACKS, PACKAGES
from tests.conftest import TINY, mostly_slow, state_differences

ARGUMENTS = {
    "EarlyStopping": ["monitor=val/loss", "patience=2", "verbose=true"],
    "GradientAccumulationScheduler": ['scheduling={"1": 2}'],
    "ModelCheckpoint": ["monitor=val/loss", "filename=mine", "verbose=true"],
    "Timer": ["duration=00:01:00:00"],
    "EMAWeightAveraging": ["decay=0.9"],
}
# what they print; nothing is printed on Lightning's account otherwise
PRINTS = {
    "EarlyStopping": "Metric val/loss improved",
    "ModelCheckpoint": "'val/loss' reached",
    "ModelSummary": "Trainable params",
    "RichModelSummary": "Trainable params",
}
# their functions are the user's, which tests of --allow_import cover
WORK = [name for name, reason in CALLBACKS.items() if not reason and name not in {*PACKAGES, "ThroughputMonitor"}]
BARS = {"RichProgressBar", "TQDMProgressBar"}
SETTINGS = [word for word in TINY if "one_cycle" not in word and "progress_bar" not in word]


def flags(name: str) -> list[str]:
    return [f"--trainer.callbacks+={name}", *(f"--trainer.callbacks.{word}" for word in ARGUMENTS.get(name, []))]


@pytest.mark.parametrize("name", mostly_slow([*WORK, "TQDMProgressBar"], "Timer"))
def test_a_callback_works_in_fit_and_in_an_exact_resume(name, workdir, capsys):
    words = ["fit", *SETTINGS, "--model.lr_scheduler=constant", *flags(name)]
    words += ["--trainer.enable_progress_bar=true" if name in BARS else "--trainer.enable_progress_bar=false"]
    main([*words, "--epochs=2", "--trainer.default_root_dir=straight"])
    assert PRINTS.get(name, "best val/acc") in capsys.readouterr().out
    main([*words, "--epochs=1", "--trainer.default_root_dir=parts"])
    main(["fit", "--resume", "--epochs=2", "--trainer.default_root_dir=parts"])
    runs = [workdir / root / "lightning_logs" / "version_0" for root in ("straight", "parts")]
    assert state_differences(*(run / "checkpoints" / "last.ckpt" for run in runs)) == []
    assert (runs[0] / "metrics.csv").read_bytes() == (runs[1] / "metrics.csv").read_bytes()
    (item,) = yaml.safe_load((runs[1] / "config.yaml").read_text(encoding="utf-8"))["trainer"]["callbacks"]
    assert item["class_path"] == f"lightning.pytorch.callbacks.{name}"
    assert sorted(path.name for path in workdir.iterdir() if path.name != "cache") == ["parts", "straight"]


@pytest.mark.parametrize(
    "callbacks",
    [
        "{class_path: lightning.pytorch.callbacks.LearningRateMonitor}",
        "LearningRateMonitor",
        "[LearningRateMonitor]",
        "[{class_path: LearningRateMonitor}, {class_path: Timer}]",
    ],
)
def test_a_config_names_a_callback_alone_or_in_a_list(callbacks, workdir):
    (workdir / "c.yaml").write_text(f"trainer:\n  callbacks: {callbacks}\n", encoding="utf-8")
    main(["fit", *TINY, "--epochs=1", "--config=c.yaml", "--trainer.log_every_n_steps=1"])
    header = (workdir / "lightning_logs" / "version_0" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "lr-AdamW" in header


def test_nothing_else_of_lightnings_is_printed(workdir, capfd):
    main(["fit", *TINY, "--epochs=1", "--model.ema_decay=0.9"])
    main(["test", "--ckpt_path=best", "--trainer.enable_progress_bar=false"])
    printed = "".join(capfd.readouterr())
    assert not re.search(r"TPU|Restoring|Trainer\.fit|lightning\.ai|current_model_state|Tip", printed)
