"""Keys of a config file that other tools have, or that are in another place."""

from __future__ import annotations

import pytest
import yaml

from lit_cnn.cli.config_keys import normalize
from lit_cnn.errors import UserError


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("epochs: 5", {"trainer": {"max_epochs": 5}}),
        ("lr: 0.1", {"model": {"lr": 0.1}}),
        ("learning_rate: 0.1\nmodel: resnet34", {"model": {"backbone": "resnet34", "lr": 0.1}}),
        ("batch_size: 8\nimgsz: 64", {"data": {"init_args": {"batch_size": 8, "image_size": 64}}}),
        ("data: Digits\nworkers: 2", {"data": {"class_path": "Digits", "init_args": {"workers": 2}}}),
        ("seed: 3", {"seed_everything": 3}),
        ("arch: resnet34", {"model": {"backbone": "resnet34"}}),
        ("pretrained: true", {"model": {"weights": "imagenet"}}),
        ("amp: true", {"trainer": {"precision": "bf16-mixed"}}),
        ("amp: false", {"trainer": {"precision": None}}),
        ("trainer.max_epochs: 5", {"trainer": {"max_epochs": 5}}),
        ("data.augment.flip: 0.5", {"data": {"init_args": {"augment": {"flip": 0.5}}}}),
        ("device: 0", {"trainer": {"accelerator": "gpu", "devices": [0]}}),
        ("device: cpu", {"trainer": {"accelerator": "cpu", "devices": "1"}}),
        ("trainer: {precision: fp16}", {"trainer": {"precision": "16-mixed"}}),
        ("scheduler: StepLR", {"model": {"lr_scheduler": "step"}}),
        ("data: {data_dir: x}", {"data": {"init_args": {"data_dir": "x"}}}),
        ("trainer:\nmodel: {lr: 1}", {"trainer": None, "model": {"lr": 1}}),
        ("checkpoint_every: 5m\nskip_nonfinite_steps: 3", {"checkpoint_every": "5m", "skip_nonfinite_steps": 3}),
    ],
)
def test_a_key_is_put_where_it_belongs(text, settings):
    assert normalize(yaml.safe_load(text), "c.yaml") == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 5\ntrainer: {max_epochs: 3}", "c.yaml: epochs is trainer.max_epochs, which is there too"),
        ("lr: 1\nlearning_rate: 2", "c.yaml: learning_rate is model.lr, which is there too"),
        ("evaluate: true", "c.yaml: unknown setting evaluate: lit-cnn test"),
        ("num_classes: 3", "c.yaml: unknown setting num_classes: the number of classes comes from the data"),
        ("epoochs: 3", "c.yaml: unknown setting epoochs, did you mean epochs"),
        ("resume: x", "c.yaml: resume is for the command line: --resume x"),
        ("lr: 1\nmodel: net.yaml", "c.yaml: lr is model.lr, which is there too"),
    ],
)
def test_a_key_without_a_place_gets_one_line(text, message):
    with pytest.raises(UserError, match=message):
        normalize(yaml.safe_load(text), "c.yaml")
