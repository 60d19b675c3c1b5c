"""The LightningModule, trained through the command line on the digits."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from lit_cnn.cli.main import main
from lit_cnn.data import Digits
from lit_cnn.errors import UserError
from lit_cnn.models import find_head, get_model
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.utils.random import step_seed
from tests.conftest import EVERY_STEP, LENET, load

CHECKPOINTS = Path("lightning_logs") / "version_0" / "checkpoints"


def test_averaged_weights_follow_the_recursion_and_are_what_a_checkpoint_evaluates(workdir):
    main(["fit", *LENET, "--epochs=1", "--model.ema_decay=0.8", *EVERY_STEP])
    files = sorted(CHECKPOINTS.glob("step*.ckpt"), key=lambda p: int(p.stem[4:]))
    assert len(files) == 10
    expected: dict[str, torch.Tensor] = {}
    for file in files:
        content = load(file)
        for name, now in content["current_model_state"].items():
            # the first step's weights start the average
            expected[name] = 0.8 * expected[name] + 0.2 * now if name in expected else now.clone()
            torch.testing.assert_close(content["state_dict"][name], expected[name])


def test_frozen_layers_keep_weights_and_statistics_and_stay_out_of_the_optimizer(workdir):
    words = ["--model.backbone=resnet18", "--model.backbone_args.stem=cifar", "--model.freeze=backbone"]
    torch.manual_seed(0)
    torch.save(get_model("resnet18", num_classes=10, in_channels=1, stem="cifar").state_dict(), "start.pth")
    limits = ["--epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "-b=16"]
    main(["fit", *LENET, *words, "--model.weights=start.pth", *limits])
    before, content = torch.load("start.pth", weights_only=True), load(CHECKPOINTS / "last.ckpt")
    after = {name.removeprefix("backbone."): value for name, value in content["state_dict"].items()}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}
    assert len(content["optimizer_states"][0]["param_groups"][0]["params"]) == 2


def test_frozen_layers_that_a_file_lacks_are_refused_and_without_a_file_there_is_a_note(workdir, capsys):
    state = get_model("lenet", num_classes=10, in_channels=1).state_dict()
    del state["features.3.weight"]
    torch.save(state, "half.pth")

    def start(**settings) -> str:
        ImageClassifier(10, 1, "lenet", weights_strict=False, **settings).setup("fit")
        return capsys.readouterr().out

    with pytest.raises(UserError, match=r"half.pth has no fitting values for features.3.weight, and `model.freeze`"):
        start(weights="half.pth", freeze=2)
    assert "9 of 10 tensors loaded" in start(weights="half.pth", freeze=1)
    note = "frozen layers keep their initial, random values"
    assert note in start(freeze=1)
    assert start(freeze=0) == start() == ""


def test_a_head_that_the_weights_do_not_bring_starts_from_zeros_on_request(workdir):
    for classes in (7, 10):
        trained = get_model("lenet", num_classes=classes, in_channels=1).state_dict()
        torch.save({name: torch.ones_like(tensor) for name, tensor in trained.items()}, f"{classes}.pth")
        task = ImageClassifier(10, 1, "lenet", weights=f"{classes}.pth", head_init="zeros")
        task.setup("fit")
        head = task.backbone.get_submodule(find_head(task.backbone, 10))
        assert [bool(head.weight.any()), bool(head.bias.any())] == [classes == 10] * 2
    with pytest.raises(UserError, match=r"must be model or zeros, got .ones."):
        ImageClassifier(10, 1, "lenet", head_init="ones")


class Odd(torch.nn.Module):
    """A backbone whose outputs have the given shapes behind N, the first in eval mode too."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.shapes = shapes
        self.fc = torch.nn.Linear(1, 1)

    def forward(self, x):
        first, *others = (x.new_zeros(len(x), *shape) for shape in self.shapes)
        return (first, *others) if self.training and others else first


@pytest.mark.parametrize(
    ("shapes", "line"),
    [
        ([(7,)], r"resnet20 gives \(4, 7\), but \(N, K\) = \(4, 5\) is expected here; check `model.backbone_args`"),
        ([(5, 1, 1)], r"resnet20 gives \(4, 5, 1, 1\), but"),
        ([(5,), (5,), (7,)], r"auxiliary head aux2 of resnet20 gives \(4, 7\), but"),
        ([(5,), (5,)], None),
        ([(5,)], None),
    ],
)
def test_outputs_that_are_no_logits_for_the_classes_are_one_line(shapes, line):
    task = ImageClassifier(5, 3, "resnet20")
    task.backbone = Odd(*shapes)
    image = torch.zeros(4, 3, 8, 8)
    if line is None:
        task(image)
    else:
        with pytest.raises(UserError, match=line):
            task(image)
    if shapes[0] == (5,):
        assert task.eval()(image).shape == (4, 5)


def test_the_learning_rate_moves_at_every_optimizer_step(workdir):
    main(["fit", *LENET, "--epochs=1", "--model.lr_scheduler=linear", "--lr=0.01", *EVERY_STEP])
    # 10 steps: after step k the next one's rate is set
    rates = [load(CHECKPOINTS / f"step{k}.ckpt")["optimizer_states"][0]["param_groups"][0]["lr"] for k in range(1, 11)]
    assert rates == pytest.approx([0.01 * (1 - k / 10) for k in range(1, 11)])


def test_the_learning_rate_grows_with_the_images_of_a_step_where_it_is_given_for_so_many(workdir):
    words = ["--model.lr_base_size=64", "--trainer.accumulate_grad_batches=2", "--model.lr_scheduler=constant"]
    main(["fit", *LENET, *words, "--epochs=1", "--lr=0.01"])  # 128 images a batch
    (group,) = load(CHECKPOINTS / "last.ckpt")["optimizer_states"][0]["param_groups"]
    assert group["lr"] == pytest.approx(0.01 * 128 * 2 / 64)


def test_the_rate_shown_is_that_of_most_parameters(workdir):
    main(["fit", *LENET, "--epochs=2", "--lr=0.01", "--model.lr_stop={features.0.bias: 1}"])
    with Path("lightning_logs/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["train/lr"]) > 0.001


def test_warm_up_counts_in_epochs_of_optimizer_steps(workdir):
    words = ["--epochs=2", "--trainer.accumulate_grad_batches=2", "--model.lr_warmup_epochs=1"]
    main(["fit", *LENET, *words, "--model.lr_scheduler=constant", "--lr=0.01", *EVERY_STEP])
    # 5 steps an epoch with accumulation
    rates = [load(CHECKPOINTS / f"step{k}.ckpt")["optimizer_states"][0]["param_groups"][0]["lr"] for k in range(1, 11)]
    assert rates == pytest.approx([0.004, 0.006, 0.008, *[0.01] * 7])


@pytest.mark.parametrize(
    "words",
    [
        ["--model.loss=mse_softmax"],
        ["--model.mixup_alpha=0.2", "--model.cutmix_alpha=1.0", "--model.label_smoothing=0.1"],
        ["--model.optimizer=RMSprop", "--model.optimizer_args.alpha=0.9", "--lr=0.001"],
        ["--trainer.precision=bf16-mixed"],
        ["--model.channels_last=false"],
        ["--trainer.gradient_clip_val=0.5", "--trainer.accumulate_grad_batches=3"],
        ["--model.lr_scheduler=step", "--model.lr_step_size=1", "--model.lr_gamma=0.5"],
    ],
    ids=lambda words: words[0].partition("=")[0].removeprefix("--"),
)
def test_every_kind_of_training_learns(words, workdir):
    main(["fit", *LENET, "--epochs=3", "--model.lr_warmup_epochs=0.2", *words])
    with (workdir / "lightning_logs" / "version_0" / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert float(table[-1]["val/loss"]) < float(table[0]["val/loss"])
    assert float(table[-1]["val/acc"]) > 0.3  # guessing gives 0.1


def test_a_first_layer_that_comes_from_the_data_is_computed_from_training_images(workdir):
    words = ["--model.backbone=speednet", "--img-size=32", "--trainer.limit_train_batches=1", "--data.val_fraction=0.5"]
    main(["fit", *LENET, *words, "--epochs=1", "--data.augment.crop_padding=0", "--data.augment.rotation=0"])
    weight = load(CHECKPOINTS / "last.ckpt")["state_dict"]["backbone.whiten.weight"]
    data = Digits(image_size=32, batch_size=2000, val_fraction=0.5)
    data.setup("fit")
    image = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0).image
    response = torch.nn.functional.conv2d(image, weight).transpose(0, 1).flatten(1)
    half = len(response) // 2
    torch.testing.assert_close(response[half:], -response[:half], atol=1e-4, rtol=1e-4)  # both signs of each filter
    # whitened: second moments are 1 (less for directions of hardly any variance) and 0 between different filters
    moments = response[:half] @ response[:half].T / response.shape[1]
    assert (moments - torch.diag(moments.diag())).abs().max() < 0.02
    assert moments.diag().max() < 1.02
    assert moments.diag()[:3].min() > 0.9


def test_a_size_that_another_zoos_model_cannot_take_is_one_line(workdir, fails):
    line = fails("fit", *LENET, "--model.backbone=torchvision/alexnet", "--trainer.limit_train_batches=1")
    assert "AlexNet cannot take 28x28 images; the smallest size that works is 63x63" in line


def test_compiling_keeps_the_names_of_the_weights(workdir):
    with torch.compiler.set_stance("force_eager"):  # the compiler itself is tested with the models
        main(["fit", *LENET, "--epochs=1", "--model.compile=true"])
    names = load(CHECKPOINTS / "last.ckpt")["state_dict"].keys()
    plain = get_model("lenet_maxpool", num_classes=10, in_channels=1).state_dict().keys()
    assert set(names) == {f"backbone.{name}" for name in plain}


def test_weights_and_images_are_channels_last_by_default():
    image = torch.rand(2, 3, 32, 32)
    for wanted in (True, False):
        task = ImageClassifier(10, 3, "resnet18", {"stem": "cifar"}, channels_last=wanted)
        seen = []
        task.backbone.conv1.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        task(image)
        for tensor in (task.backbone.conv1.weight, seen[0]):
            assert tensor.is_contiguous(memory_format=torch.channels_last) is wanted


def test_the_model_can_be_loaded_without_the_command_line(trained):
    task = ImageClassifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert task.hparams["backbone"] == "lenet_maxpool"
    assert task.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("settings", "message"), [({"lr": 0.0}, "`model.lr` must be positive"), ({"ema_decay": 1.0}, "ema_decay")]
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ImageClassifier(10, 1, "lenet", **settings)


def test_step_seeds_differ_between_all_neighbouring_steps():
    seeds = {step_seed(s, e, b, r) for s in range(3) for e in range(5) for b in range(50) for r in range(4)}
    assert len(seeds) == 3 * 5 * 50 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)
