from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

import lit_cnn
from lit_cnn.api import training
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from tests.conftest import LENET

SETTINGS = {
    "data": "Digits",
    "model": {"backbone": "lenet_maxpool", "optimizer": "adamw", "lr_scheduler": "one_cycle"},
    "lr": 0.003,
    "batch_size": 128,
    "trainer": {"enable_progress_bar": False},
}


def test_fit_is_the_run_of_the_command_line(workdir):
    main(["fit", *LENET, "--epochs=1"])
    run = lit_cnn.fit(**SETTINGS, epochs=1)
    assert run.folder == workdir / "lightning_logs" / "version_1"
    weights = [
        torch.load(f"lightning_logs/version_{n}/checkpoints/best.ckpt", weights_only=True)["state_dict"] for n in (0, 1)
    ]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert run.best is not None
    assert run.score is not None
    assert run.load().class_names == [str(n) for n in range(10)]


def test_fit_takes_configs_nested_settings_callbacks_and_resumes(workdir):
    class Count(Callback):
        steps = 0

        def on_train_batch_end(self, *args):
            self.steps += 1

    count = Count()
    config = {"data": {"class_path": "Digits", "init_args": {"batch_size": 256}}, **{"model.backbone": "mnist_cnn"}}
    run = lit_cnn.fit(config, epochs=1, callbacks=[count], trainer={"enable_progress_bar": False})
    assert count.steps == 5
    again = lit_cnn.fit(resume=True, epochs=2, pretrained=False)
    assert again.folder == run.folder
    with pytest.raises(UserError, match="unknown flag --epoks"):
        lit_cnn.fit("lenet_digits", epoks=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": lit_cnn.Digits}, '`data` is the class Digits: give data by name, data="Digits"'),
        ({"data": lit_cnn.Digits()}, '`data` is an object of the class Digits: give data by name, data="Digits"'),
        ({"model": nn.Linear(1, 1)}, "`model` is an object of the class Linear: register a model"),
        ({"trainer": {"callbacks": [EarlyStopping("val/loss")]}}, r"give callbacks as callbacks=\[EarlyStopping\("),
        ({"trainer": {"logger": object()}}, "`trainer.logger` is an object of the class object: give numbers, texts"),
        ({"lr": {1, 2}}, "`lr` is an object of the class set"),
        ({"callbacks": 3}, "callbacks holds an object of the class int"),
        ({"callbacks": EarlyStopping}, "callbacks holds the class EarlyStopping: give objects"),
        ({"verify_resume": 8}, "fit does not take verify_resume: it is for the command line"),
        ({"print_config": True}, "fit does not take print_config"),
        ({"h": True}, "fit does not take h"),
        ({"config": 3}, "config is an object of the class int: give a path or a name"),
        ({"resume_anyway": 2}, "--resume_anyway 2: expected true or false"),
        ({"callbacks": [EarlyStopping("val/loss")] * 2, **{"trainer.barebones": True}}, "barebones"),
    ],
)
def test_what_fit_does_not_take_is_one_line_and_leaves_no_run_folder(workdir, settings, message):
    with pytest.raises((UserError, ValueError), match=message):
        lit_cnn.fit(**{**SETTINGS, **settings})
    assert list(workdir.glob("lightning_logs/*")) == []


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"trainer.default_root_dir": Path("sub")}, [("--trainer.default_root_dir", "sub")]),
        ({"lr": np.float32(0.5), "b": np.int64(32), "j": 1}, [0.5, 32, 1]),
        ({"amp": True, "pretrained": True, "deterministic": True}, ["bf16-mixed", "imagenet", "true"]),
        ({"amp": False, "pretrained": False, "deterministic": False}, ["null", "null", "false"]),
        ({"data.mean": (0.5, Path("a"))}, ['[0.5, "a"]']),
        ({"print_config": False}, []),
    ],
)
def test_values_become_words_of_the_command_line(monkeypatch, given, flags):
    found = arguments_of(monkeypatch, **given)
    assert [pair if isinstance(flag, tuple) else pair[1] for pair, flag in zip(found.flags, flags, strict=True)] == [
        flag if isinstance(flag, tuple) else str(flag) for flag in flags
    ]
    assert found.bare == []


@pytest.mark.parametrize(
    ("given", "attribute", "value"),
    [
        ({"resume": True}, "resume", ""),
        ({"resume": False}, "resume", None),
        ({"resume": Path("a.ckpt")}, "resume", "a.ckpt"),
        ({"resume": "", "resume_anyway": True}, "resume_anyway", True),
        ({"resume": "", "resume_anyway": False}, "resume_anyway", False),
        ({"ckpt_path": None, "resume_anyway": None}, "ckpt_path", None),
        ({"c": "lenet_digits"}, "configs", ["lenet_digits"]),
        ({"allow_import": "mine"}, "allow_import", ["mine"]),
    ],
)
def test_arguments_of_fit_are_those_of_the_command(monkeypatch, given, attribute, value):
    assert getattr(arguments_of(monkeypatch, **given), attribute) == value


def arguments_of(monkeypatch, **given):
    """The parsed command line that fit makes of its arguments."""
    found = []

    def catch(arguments, **rest):
        found.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run", catch)
    with pytest.raises(KeyboardInterrupt):
        lit_cnn.fit(**given)
    return found[0]


def test_one_callback_needs_no_list_and_a_path_no_quotes(workdir):
    run = lit_cnn.fit(
        **SETTINGS, callbacks=Callback(), **{"trainer.default_root_dir": Path("sub"), "trainer.max_steps": 1}
    )
    assert run.folder == workdir / "sub" / "lightning_logs" / "version_0"


def test_the_parts_work_with_a_plain_trainer(workdir):
    data = lit_cnn.Digits(batch_size=128)
    task = lit_cnn.ImageClassifier(
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        backbone="lenet_maxpool",
        optimizer="adamw",
        lr=0.003,
    )
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(task, datamodule=data)
    (scores,) = trainer.test(task, datamodule=data, verbose=False)
    assert scores["test/acc"] > 0.15
    assert lit_cnn.get_model("lenet", num_classes=3, in_channels=1) is not None


def test_a_data_module_has_a_short_text():
    assert str(lit_cnn.Digits()) == repr(lit_cnn.Digits()) == "Digits(data_dir='data', batch_size=64)"


def test_every_public_name_is_there_and_an_unknown_one_is_not():
    assert all(getattr(lit_cnn, name) is not None for name in lit_cnn.__all__)
    assert set(lit_cnn.__all__) <= set(dir(lit_cnn))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lit_cnn.nothing
