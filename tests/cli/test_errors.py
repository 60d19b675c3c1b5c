"""A user's mistakes: one line each, with the fix, and nothing left behind."""

from __future__ import annotations

import pytest
import torch

from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from tests.conftest import TINY, write_pictures


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["fot"], ["unknown command 'fot'", "did you mean 'fit'"]),
        (["fit"], ["choose the images with --data NAME", "CIFAR10", "ImageFolder"]),
        (["fit", "--data=CIFAR1"], ["unknown data set 'CIFAR1'", "did you mean 'CIFAR10'"]),
        (
            ["fit", "--data=CIFAR10"],
            ["no cifar-10-python.tar.gz", "in data", "download", "offline: --data Digits"],
        ),
        (["fit", "--data=ImageFolder", "--data-dir=no"], ["no folder no", "--data-dir", "offline"]),
        (
            ["fit", "--data=Digits", "--data.batchsize=3"],
            ["--data.batchsize", "did you mean --data.batch_size"],
        ),
        (["fit", "--data=Digits", "--model.lrr=3"], ["unknown setting --model.lrr", "did you mean --model.lr"]),
        (["fit", "--data=Digits", "--batch-size=x"], ["--data.batch_size: expected a whole number or 'auto', got 'x'"]),
        (["fit", "--data=Digits", "--epochs=x"], ["--trainer.max_epochs: expected a whole number, got 'x'"]),
        (["fit", "--data=Digits", "--epochs=0"], ["trains nothing"]),
        (["fit", "--data=Digits", "--model.backbone_args.num_classes=5"], ["cannot be set: it comes from the data"]),
        (["fit", "--data=Digits", "--checkpoint.dirpath=here"], ["cannot be set", "--trainer.default_root_dir"]),
        (
            ["fit", "--data=Digits", "--model.backbone=timm/resnet18", "--model.backbone_args.checkpoint_path=x.pth"],
            ["checkpoint_path cannot be given here", "--weights"],
        ),
        (["fit", "--data=Digits", "--trainer.num_nodes=2"], ["with torchrun or srun", "docs/distributed.md"]),
        (["fit", "--data=Digits", "--checkpoint_every=5 apples"], ["unknown unit 'apples'", "500 (optimizer steps)"]),
        (["fit", "--data=Digits", "--checkpoint.save_last=true"], ["last.ckpt is always kept", "--checkpoint_every"]),
        (["fit", "--data=Digits", "--model.lr_scheduler=cosin"], ["'cosin' is none of", "'cosine'"]),
        (["fit", "--data=Digits", "--model.backbone=resnet19"], ["unknown model 'resnet19'", "'resnet18'", "models"]),
        (
            ["fit", "--data=Digits", "--model.backbone=resnet18", "--model.backbone_args.stm=cifar"],
            ["resnet18 has no argument 'stm'", "did you mean 'stem'", "zero_init_residual"],
        ),
        (["fit", "--data=Digits", "--model.loss=cross_entropie"], ["did you mean 'cross_entropy'", "--allow_import"]),
        (["fit", "--data=Digits", "--model.optimizer=adamv"], ["unknown optimizer 'adamv'", "AdamW"]),
        (["fit", "--data=Digits", "--model.weights=no.pth"], ["no weights file at no.pth"]),
        (
            ["fit", "--data=Digits", "--model.backbone=resnet20", "--model.freeze=99"],
            ["freeze: 99 is more than the 5 blocks of ResNet: conv1, bn1, layer1, layer2, layer3"],
        ),
        (
            ["fit", "--data=Digits", "--model.backbone=resnet20", "--model.backbone_args.include_top=false"],
            ["resnet20 gives (64, 64, 7, 7), but (N, K) = (64, 10)", "include_top false gives features, not logits"],
        ),
        (["fit", "--config=no.yaml"], ["no config file at no.yaml"]),
        (["fit", "--resume"], ["no run under lightning_logs", "train first"]),
        (["fit", "--resume", "--ckpt_path=x.ckpt"], ["give one of them"]),
        (["test"], ["test needs a trained model", "--ckpt_path"]),
        (["test", "--ckpt_path=no.ckpt"], ["no checkpoint at no.ckpt"]),
        (["fit", "--data=Digits", "-b=0"], ["--batch-size is 0: it must be at least 1"]),
        (["fit", "--data=Digits", "--data.augment.flip=3"], ["augment.flip is 3.0: it must lie between 0 and 1"]),
        (["fit", "--data=Digits", "--data.normalize=foo"], ["data.normalize is 'foo'", "imagenet"]),
        (["fit", "--data=Digits", "--data.seed=3"], ["--data.seed cannot be set", "--seed N"]),
        (["fit", "--data=Digits", "--num-classes=3"], ["comes from the data"]),
        (["fit", "--data=Digits", "--seed=true"], ["--seed: expected a whole number"]),
        (
            ["fit", "--data=Digits", "--model.lr_warmup_epochs=-2"],
            ["lr_warmup_epochs -2.0 must be at least 0"],
        ),
        (["fit", "--data=Digits", "--trainer.accumulate_grad_batches=0"], ["expected at least 1"]),
        (["fit", "--data=Digits", "--checkpoint.monitor=val/los"], ["nothing is measured as 'val/los'", "'val/loss'"]),
        (["fit", "--data=Digits", "--checkpoint.every_n_train_steps=5"], ["--checkpoint.monitor null"]),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) and item[0] in ("fit", "fot", "test") else "",
)
def test_mistakes_get_one_line_with_the_fix_and_leave_no_run_folder(words, messages, workdir, fails):
    line = fails(*words)
    for message in messages:
        assert message in line
    assert not list(workdir.glob("lightning_logs/*"))


def test_more_devices_than_the_machine_has_are_refused(workdir, fails, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert "this machine has no GPU" in fails("fit", *TINY, "--trainer.devices=8")
    assert "--device cpu" in fails("fit", *TINY, "--device=cuda")


def test_other_classes_than_the_checkpoints_are_refused_with_both_lists(trained, workdir, fails):
    write_pictures(workdir / "set" / "test" / "dog", 3)
    write_pictures(workdir / "set" / "test" / "3", 3)
    checkpoint = str(trained / "checkpoints" / "best.ckpt")
    line = fails("test", "--ckpt_path", checkpoint, "--data=ImageFolder", "--data-dir=set")
    assert "classes that the model does not have: dog" in line
    assert "data: 3, dog" in line
    assert "model: 0, 1, 2" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["test", "--lr=0.1"], "--model.lr has no effect on test"),
        (["test", "--epochs=3"], "--trainer.max_epochs has no effect on test"),
        (["test", "--model.weights=x.pth"], "both bring weights"),
        (["test", "--config=wide.yaml"], "holds a model with backbone lenet_maxpool, not resnet18"),
        (["predict", "photo.jpg", "--data-dir=x"], "either image files and folders, or"),
        (["fit", "--epochs=9", "--model.optimizer=sgd"], "model.optimizer cannot change on resume"),
        (["fit", "--epochs=9", "--freeze=backbone"], "model.freeze cannot change on resume"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_what_a_checkpoint_does_not_fit_or_would_ignore_is_refused(words, message, trained, workdir, fails):
    (workdir / "wide.yaml").write_text("model: {backbone: resnet18}\n")
    assert message in fails(*words, "--ckpt_path", str(trained / "checkpoints" / "best.ckpt"))


def test_another_backbone_than_the_checkpoints_is_refused(trained, workdir, fails):
    line = fails("test", "--ckpt_path", str(trained / "checkpoints" / "best.ckpt"), "--model.backbone=resnet34")
    assert "holds a model with backbone lenet_maxpool, not resnet34" in line


def test_a_nonfinite_loss_stops_the_run_and_keeps_the_checkpoints(workdir, fails):
    good = ["--epochs=1", "--trainer.default_root_dir=run"]
    main(["fit", *TINY, *good])
    checkpoints = workdir / "run" / "lightning_logs" / "version_0" / "checkpoints"
    before = {p.name: p.read_bytes() for p in checkpoints.iterdir()}
    resume = ["--epochs=2", "--lr=1e30", "--model.lr_scheduler=constant", "--trainer.default_root_dir=run"]
    error = fails("fit", "--resume", *resume)
    assert "the training loss is nan in epoch 2, step 12, at learning rate 1e+30: stopped" in error
    assert {p.name: p.read_bytes() for p in checkpoints.iterdir()} == before


class Canary:
    """Pickled, it would write a file when loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("kind", ["text", "empty", "cut short", "pickled code", "state dict"])
def test_a_file_that_is_no_checkpoint_is_refused_without_running_it(kind, trained, workdir, fails):
    path = workdir / "bad.ckpt"
    good = (trained / "checkpoints" / "best.ckpt").read_bytes()
    expected = {
        "text": "is not a checkpoint",
        "empty": "is not a checkpoint",
        "cut short": "is not a checkpoint",
        "pickled code": "would run code when loaded: refused",
        "state dict": "was not written by lit-cnn",
    }
    if kind == "pickled code":
        torch.save({"lit_cnn": Canary(workdir / "canary")}, path)
    elif kind == "state dict":
        torch.save({"fc.weight": torch.zeros(2)}, path)
    else:
        path.write_bytes({"text": b"hello", "empty": b"", "cut short": good[: len(good) // 2]}[kind])
    for command in (["test", "--ckpt_path"], ["fit", "--resume"]):
        assert expected[kind] in fails(*command, str(path))
    assert not (workdir / "canary").exists()


def test_debug_shows_the_traceback(workdir):
    with pytest.raises(UserError, match="unknown model"):
        main(["fit", *TINY, "--model.backbone=resnet19", "--debug"])


def test_an_unknown_strategy_is_one_line_with_the_nearest(workdir, fails):
    line = fails("fit", "--data=Digits", "--trainer.strategy=dpp")
    assert line.startswith("unknown --trainer.strategy 'dpp', did you mean 'ddp'?")
    assert line.endswith("auto, ddp and fsdp are the usual ones")
