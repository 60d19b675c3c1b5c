"""Images are normalized as the weights expect, unless the user says otherwise."""

from __future__ import annotations

import pytest
import torch
import yaml

from lit_cnn.cli.main import main
from lit_cnn.models import get_model

from .helpers import QUIET

BACKBONE = "timm/test_vit"  # of timm's smallest, with mean and std of 0.5; made for 160 pixels
FAST = [
    "--data=Digits", "--img-size=32", "--data.channels=3", "--data.augment=null", f"--model.backbone={BACKBONE}",
    "--model.backbone_args={img_size: 32}", "--trainer.max_steps=1", "--trainer.limit_val_batches=1", QUIET,
]  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vit.pth"
    torch.save(get_model(BACKBONE, num_classes=10, img_size=32).state_dict(), path)
    return path


def settings(run):
    content = yaml.safe_load((run / "lightning_logs" / "version_0" / "config.yaml").read_text())
    return {name: content["data"]["init_args"].get(name) for name in ("normalize", "mean", "std")}


def test_weights_bring_their_mean_and_std_which_a_run_from_its_checkpoint_keeps(workdir, weights, capsys):
    main(["fit", *FAST, f"--weights={weights}", "--project=first"])
    assert settings(workdir / "first") | {"normalize": ""} == {"normalize": "", "mean": [0.5] * 3, "std": [0.5] * 3}
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["data.mean", "-", "[0.5,", "0.5,", "0.5]", "weights"] in shown
    last = workdir / "first" / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["lit_cnn"]["preprocessing"]["mean"] == [0.5] * 3


def test_a_checkpoint_of_lit_cnn_brings_those_it_was_trained_with(workdir):
    own = ["--data.mean=[0.1, 0.2, 0.3]", "--data.std=[0.4, 0.5, 0.6]"]
    main(["fit", *FAST, *own, "--project=first"])
    last = workdir / "first" / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    main(["fit", *FAST, f"--weights={last}", "--project=second"])
    assert settings(workdir / "second")["mean"] == [0.1, 0.2, 0.3]
    assert settings(workdir / "second")["std"] == [0.4, 0.5, 0.6]


@pytest.mark.parametrize(
    "flags", [["--data.normalize=imagenet"], ["--data.mean=[0.3, 0.3, 0.3]", "--data.std=[1.0, 1.0, 1.0]"]]
)
def test_what_the_user_names_is_kept(workdir, weights, flags):
    main(["fit", *FAST, f"--weights={weights}", *flags, "--project=run"])
    found = settings(workdir / "run")
    assert found["mean"] == (None if len(flags) == 1 else [0.3] * 3)


def test_a_config_that_names_it_is_kept_and_without_weights_nothing_changes(workdir, weights):
    (workdir / "mine.yaml").write_text("data:\n  class_path: Digits\n  init_args:\n    normalize: imagenet\n")
    main(["fit", "--config=mine.yaml", *FAST[1:], f"--weights={weights}", "--project=config"])
    main(["fit", *FAST, "--project=none"])
    assert settings(workdir / "config") == {"normalize": "imagenet", "mean": None, "std": None}
    assert settings(workdir / "none")["mean"] is None
