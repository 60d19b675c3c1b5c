from __future__ import annotations

import pytest
import torch

from lit_cnn.checkpoint.diff import content_hash
from lit_cnn.checkpoint.record import HASH, KEY, read_record
from lit_cnn.checkpoint.renamed_models import (
    MODEL_NAMES,
    RENAMINGS,
    current_model_name,
    run_header,
    use_current_model_names,
)
from lit_cnn.cli.config import read_config
from lit_cnn.cli.main import main
from lit_cnn.models import MODELS
from tests.conftest import load


def as_written_before(content: dict, names: dict[str, str], known: int | None) -> dict:
    """A checkpoint with the names that networks had when ``known`` renamings were done."""
    old = {new: old for old, new in names.items()}
    for model in (content[KEY]["config"]["model"], content["hyper_parameters"]):
        model["backbone"] = old[model["backbone"]]
    content[KEY].pop(MODEL_NAMES, None)
    if known is not None:
        content[KEY][MODEL_NAMES] = known
    content[KEY].pop(HASH, None)
    content[KEY][HASH] = content_hash(content)
    return content


def test_every_renamed_network_is_registered_and_its_old_name_is_another_one_now() -> None:
    for renaming in RENAMINGS:
        for old, new in renaming.items():
            assert old in MODELS
            assert current_model_name(new, 0) in MODELS
            assert MODELS[old].parameters != MODELS[new].parameters


def test_only_renamings_after_the_checkpoint_are_applied() -> None:
    assert current_model_name("vgg7", 0) == "vgg7_wide"
    assert current_model_name("vgg7", 1) == "vgg7"
    assert current_model_name("resnet18", 0) == "resnet18"


def test_old_names_are_replaced_in_the_settings_of_a_checkpoint_once() -> None:
    content = {"hyper_parameters": {"backbone": "vgg7_bn"}}
    own = {"config": {"model": {"backbone": "vgg7_bn", "backbone_args": {"pool_to": 1}}}}
    for _ in range(2):
        use_current_model_names(content, own)
        assert own["config"]["model"] == {"backbone": "vgg7_wide_bn", "backbone_args": {"pool_to": 1}}
        assert content["hyper_parameters"]["backbone"] == "vgg7_wide_bn"
    use_current_model_names({}, empty := {})  # of a file by another program
    assert empty == {MODEL_NAMES: len(RENAMINGS)}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("# lit-cnn 0.1.0\n", "convnet_pooled"),
        (f"# lit-cnn 0.1.0, model names {len(RENAMINGS) - 1}\n", "convnet_pooled"),
        (run_header("0.2.0"), "convnet"),
        ("", "convnet"),
        ("# my experiment\n", "convnet"),
    ],
)
def test_the_config_of_an_old_run_names_the_network_that_it_trained(header: str, name: str, tmp_path, capsys) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(header + "model:\n  backbone: convnet\n")
    assert read_config(str(path))["model"]["backbone"] == name
    said = capsys.readouterr().out
    assert ("was called convnet: that is another network now" in said) == (name != "convnet")


@pytest.mark.slow
@pytest.mark.parametrize(("known", "name"), [(None, "vgg7_wide_cifar"), (len(RENAMINGS), "vgg7_cifar")])
def test_old_checkpoints_are_tested_and_resumed_with_the_network_that_they_hold(
    known: int | None, name: str, workdir, capsys
) -> None:
    network = [f"--model.backbone={name}", "--img-size=16", "--data=Digits", "--trainer.limit_train_batches=1"]
    main(["fit", *network, "--epochs=1", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false"])
    path = workdir / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    content = load(path)
    assert content[KEY][MODEL_NAMES] == len(RENAMINGS)
    torch.save(as_written_before(content, {"vgg7_cifar": name}, known), path)
    assert read_record(path).config["model"]["backbone"] == name
    quiet = ["--trainer.limit_test_batches=1", "--trainer.enable_progress_bar=false"]
    main(["test", f"--ckpt_path={path}", *quiet])
    main(["fit", f"--ckpt_path={path}", "--epochs=2", "--trainer.enable_progress_bar=false"])
    assert load(path)[KEY]["config"]["model"]["backbone"] == name
