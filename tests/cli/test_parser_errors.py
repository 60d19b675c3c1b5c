"""Every wrong value and every misspelt option of a class gets one short line that names the setting."""

from __future__ import annotations

import pytest

from lit_cnn.errors import UserError
from tests.conftest import mostly_slow

from .answers import read, settings_of

VALUES = ["foo", "-1", "1.5", "[]", "null", "{a: 1}", "torch.optim.SGD"]
FAST = (
    "trainer.precision", "trainer.callbacks", "trainer.logger", "trainer.max_epochs", "model.freeze", "data.workers",
    "data.augment.crop_scale", "checkpoint.save_last",
)  # fmt: skip
SETTINGS = [
    name
    for name in {**settings_of(data="Digits"), **settings_of(data="ImageFolder")}
    if not name.endswith("help") and name not in ("config", "print_config")
]


@pytest.fixture
def images(workdir):
    """A folder ``photos`` of images."""
    (workdir / "photos" / "cat").mkdir(parents=True)


def refusal(*words: str) -> str:
    """The line that a command is refused with; ``""``: it is not."""
    try:
        read(["fit", *words])
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", mostly_slow(SETTINGS, *FAST))
def test_a_value_of_any_kind_works_or_gets_a_short_line_that_names_the_setting(name, images):
    data = {"data": [], "data.download": ["--data=Digits"], "data.data_dir": ["--data=ImageFolder"]}.get(
        name, ["photos"]
    )
    for value in VALUES:
        line = refusal(*data, f"--{name}={value}")
        assert "\n" not in line
        assert len(line) <= 200, line
        assert not line or name.rpartition(".")[2] in line or "--seed" in line, line
        assert "Union" not in line
        assert "allow_import" not in line or value == "torch.optim.SGD" or name == "data", line


CALLBACK = "--trainer.callbacks+=EarlyStopping"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([CALLBACK], "--trainer.callbacks.monitor is required by EarlyStopping"),
        ([CALLBACK, "--trainer.callbacks.montior=x"], "EarlyStopping has no montior, did you mean 'monitor'?"),
        (
            [CALLBACK, "--trainer.callbacks.monitor=x", "--trainer.callbacks.patience=three"],
            "--trainer.callbacks.patience: expected a whole number, got 'three'",
        ),
        (
            ["--trainer.callbacks+=LearningRateMonitor", "--trainer.callbacks.logging_interval=batch"],
            "--trainer.callbacks.logging_interval: 'batch' is none of 'step', 'epoch'",
        ),
        (["--trainer.callbacks=EarlyStoping"], "unknown class 'EarlyStoping', did you mean 'EarlyStopping'?"),
        (["--trainer.callbacks+=earlystop"], "unknown class 'earlystop', did you mean 'EarlyStopping'?"),
        (["--trainer.logger=csv"], "unknown class 'csv', did you mean 'CSVLogger'?"),
        (
            ["--trainer.logger=CSVLogger", "--trainer.logger.save_dirr=x"],
            "--trainer.logger.save_dirr: CSVLogger has no save_dirr, did you mean 'save_dir'?",
        ),
        (["--trainer.logger=CSVLogger"], "--trainer.logger.save_dir is required by CSVLogger"),
        (
            ["--trainer.strategy=DDPStrategy", "--trainer.strategy.find_unused=5"],
            "DDPStrategy has no find_unused, did you mean 'find_unused_parameters'?",
        ),
        (["--trainer.profiler=SimpleProfiler", "--trainer.profiler.dirpth=x"], "did you mean 'dirpath'?"),
        (["--trainer.plugins=MixedPrecision"], "required by MixedPrecision"),
        (["--model.nme=x"], "unknown setting --model.nme"),
        (["--model.name=x"], "did you mean --model.backbone?"),
        (["--trainer.epochs=3"], "did you mean --trainer.max_epochs?"),
        (["--trainer.max_epoch=3"], "did you mean --trainer.max_epochs?"),  # no abbreviations
        (["--data.augment.flp=3"], "did you mean --data.augment.flip?"),
        (["--limit_val_batches=3"], "did you mean --trainer.limit_val_batches?"),
        (["--model.dropout=0.5"], "use --model.backbone_args.dropout X"),
        (["--data.help=Nope"], "unknown data set 'Nope'"),
        (["--trainer={a: 1}"], "unknown setting --trainer.a"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_a_mistake_names_the_right_option_of_that_class(words, message, images):
    line = refusal("photos", *words)
    assert message in line
    assert len(line) <= 200


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("callbacks: [{class_path: EarlyStopping, init_args: {montior: val/loss}}]", "did you mean 'monitor'?"),
        ("callbacks: [EarlyStopping]", "--trainer.callbacks.monitor is required"),
        ("logger: {class_path: CSVLogger, init_args: {save_dirr: x}}", "did you mean 'save_dir'?"),
        (
            "logger: {class_path: CSVLogger, init_args: {save_dir: x, version: {}}}",
            "--trainer.logger.version: expected",
        ),
        ("max_epochs: five", "--trainer.max_epochs: expected a whole number, got 'five'"),
        ("max_epoch: 5", "did you mean --trainer.max_epochs?"),
    ],
)
def test_a_mistake_in_a_config_is_named_the_same_way(part, message, images, workdir):
    (workdir / "c.yaml").write_text(f"trainer: {{{part}}}")
    assert message in refusal("photos", "--config=c.yaml")


def test_advice_never_opens_the_gate_for_a_mistyped_option(images):
    assert "allow_import" not in refusal("photos", CALLBACK, "--trainer.callbacks.x=1")
    assert "--allow_import os" in refusal("photos", "--trainer.callbacks=os.getcwd")
