"""The pages of ``lit-cnn --help`` and of the commands that run a trainer. Standard library only."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import NamedTuple

WIDTH = 80
_FIRST = 32  # column of the help texts on fit's page


class Setting(NamedTuple):
    """A setting on the page of ``fit``.

    Attributes:
        flag: as one would type it, with the word for its value.
        name: the setting behind it, whose default a test compares; ``""`` for a flag that is none.
        default: as shown; ``""`` where there is none.
        help: what it does.
    """

    flag: str
    name: str
    default: str
    help: str


# The settings people change, by group. Data sets may have other defaults: lit-cnn fit --data.help NAME.
GROUPS: dict[str, list[Setting]] = {
    "Run": [
        Setting("--config FILE", "", "", "a YAML file, or the name of a shipped config"),
        Setting("--ckpt_path PATH", "", "", "a checkpoint, a run or its name, or best / last of the newest run"),
        Setting(
            "--resume [PATH|auto]", "", "", "resume a run, by default the newest; auto starts one if there is none"
        ),
        Setting("--name NAME", "", "version_N", "name the run: lightning_logs/NAME; lit-cnn runs lists them"),
        Setting("--resume_anyway", "", "", "also with another batch size, seed, world size or data; inexactly then"),
        Setting("--verify_resume [STEPS]", "", "24", "compare a killed and resumed run with an uninterrupted one"),
        Setting(
            "--seed N",
            "seed_everything",
            "42",
            "of weights, order and augmentation; --seeds N trains N runs",
        ),
        Setting("--project DIR", "trainer.default_root_dir", ".", "where lightning_logs/ is made"),
        Setting("--checkpoint_every N", "checkpoint_every", "1epoch", "save last.ckpt: 500 (steps), 5m, 10epochs"),
        Setting("--allow_import PKG", "", "", "import your package: its models, data sets, losses, transforms"),
        Setting("--print_config", "", "", "print the resolved settings and stop"),
    ],
    "Data": [
        Setting(
            "--data NAME",
            "",
            "",
            "CIFAR10, MNIST, FashionMNIST, Digits, Flowers, Vehicles, ImageFolder, ImageList, Stream, DehazePairs",
        ),
        Setting("--data-dir DIR", "data.data_dir", "data", "folder of the images, or a list of them"),
        Setting("-b, --batch-size N|auto", "data.batch_size", "64", "images per batch and rank"),
        Setting("--img-size N", "data.image_size", "of the set", "side in pixels, or height x width: 96x128"),
        Setting("-j, --workers N|auto", "data.workers", "cores, <= 8", "decoding threads"),
        Setting("--data.val_fraction X", "data.val_fraction", "0.1", "share of train for validation, if there is none"),
        Setting("--data.normalize NAME", "data.normalize", "imagenet", "imagenet, dataset or computed"),
        Setting("--data.cache NAME", "data.cache", "none", "keep decoded images: none, ram or disk"),
        Setting(
            "--data.on_bad_image NAME", "data.on_bad_image", "error", "error stops at a broken file, skip lists it"
        ),
        Setting("--data.download true", "", "false", "fetch and verify the published archive"),
    ],
    "Augmentation": [
        Setting(
            "--data.augment.crop_scale A", "data.augment.crop_scale", "of the set", "random resized crop: '[0.3, 1.0]'"
        ),
        Setting("--data.augment.crop_padding N", "data.augment.crop_padding", "of the set", "pad, then crop at random"),
        Setting("--data.augment.flip X", "data.augment.flip", "of the set", "probability of a horizontal flip"),
        Setting("--model.mixup_alpha X", "model.mixup_alpha", "0", "mixup's Beta parameter"),
        Setting("--model.cutmix_alpha X", "model.cutmix_alpha", "0", "CutMix's Beta parameter"),
    ],
    "Model": [
        Setting(
            "--model.backbone NAME", "model.backbone", "resnet18", "lit-cnn models lists them; torchvision/, timm/"
        ),
        Setting(
            "--model.backbone_args.K V", "model.backbone_args", "", "an argument of the network, such as stem cifar"
        ),
        Setting("--model.weights FILE", "model.weights", "random", "a file, or imagenet or hf:OWNER/NAME (downloads)"),
        Setting("--model.freeze N|backbone", "model.freeze", "nothing", "blocks that do not train"),
        Setting(
            "--model.loss NAME", "model.loss", "cross_entropy", "cross_entropy, bce, focal, mse_softmax, or your own"
        ),
        Setting(
            "--model.class_weights X", "model.class_weights", "off", "balanced, or {rare: 5}: of the training loss"
        ),
        Setting("--model.label_smoothing X", "model.label_smoothing", "0", "share of the target over all classes"),
        Setting("--raw", "", "", "test, validate, predict: probabilities without the checkpoint's temperature"),
        Setting("--predictions FILE", "", "", "write them to .csv, .jsonl or .parquet too; - prints JSON lines"),
        Setting("--save-images", "", "", "predict: the images with their classes written on them"),
        Setting("--model.tta NAME", "model.tta", "none", "average test predictions over flip or flip_shift"),
        Setting("--model.ema_decay X", "model.ema_decay", "off", "average the weights: 0.999 is usual"),
    ],
    "Optimization": [
        Setting("--epochs N", "trainer.max_epochs", "10", "passes over the training images"),
        Setting("--budget TIME", "", "", "as many epochs as fit into 10m or 2h, by a short trial"),
        Setting("--steps N", "trainer.max_steps", "no limit", "stop after so many optimizer steps"),
        Setting("--patience N", "patience", "off", "stop when the best epoch is N epochs ago"),
        Setting("--model.optimizer NAME", "model.optimizer", "sgd", "sgd, adamw, muon, or any of torch.optim"),
        Setting("--lr X|auto", "model.lr", "sgd 0.1", "peak learning rate; others have torch's, adamw 0.001"),
        Setting("--weight-decay X", "model.weight_decay", "0.0005", "weight decay"),
        Setting(
            "--model.lr_scheduler NAME", "model.lr_scheduler", "cosine", "constant, step, cosine, one_cycle, linear"
        ),
        Setting("--model.lr_warmup_epochs X", "model.lr_warmup_epochs", "0", "linear warm-up"),
        Setting("--trainer.gradient_clip_val X", "trainer.gradient_clip_val", "off", "largest norm of the gradients"),
        Setting(
            "--trainer.accumulate_grad_batches N", "trainer.accumulate_grad_batches", "1", "batches per optimizer step"
        ),
        Setting(
            "--skip_nonfinite_steps N", "skip_nonfinite_steps", "0", "skip so many steps with a NaN or infinite loss"
        ),
    ],
    "Device": [
        Setting("--device NAME", "trainer.accelerator", "auto", "cpu, cuda, mps, or GPUs by number: 0 or 0,1"),
        Setting("--trainer.devices N", "trainer.devices", "auto", "how many, or a list"),
        Setting("--strategy NAME", "trainer.strategy", "auto", "ddp or fsdp for several ranks"),
        Setting("--precision NAME|auto", "trainer.precision", "32-true", "bf16-mixed (--amp), 16-mixed"),
        Setting("--model.compile true", "model.compile", "false", "torch.compile"),
        Setting("--deterministic", "trainer.deterministic", "false", "the same bits on GPUs too"),
    ],
}


DEFAULTS = (
    "Defaults are in brackets; - and _ are the same in flags. For a folder without a "
    "config, fit chooses some by the images, and prints them."
)
_EVALUATION = (
    "--ckpt_path", "--data", "--data-dir", "-b", "-j", "--data.on_bad_image", "--model.tta", "--raw", "--predictions",
    "--device", "--trainer.devices", "--strategy", "--precision", "--deterministic", "--allow_import",
    "--project", "--print_config",
)  # fmt: skip
# Usage, description, and the flags on the page; none: all.
PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "fit": ("[--config FILE] [--data NAME] [--SETTING VALUE ...]", "Train a model, or resume a run.", ()),
    "validate": (
        "--ckpt_path PATH [--SETTING VALUE ...]",
        "Evaluate a checkpoint on the validation images. Model, data and preprocessing are the checkpoint's.",
        _EVALUATION,
    ),
    "test": (
        "--ckpt_path PATH [--SETTING VALUE ...]",
        "Evaluate a checkpoint on the test images. Model, data and preprocessing are the checkpoint's.",
        _EVALUATION,
    ),
    "predict": (
        "--ckpt_path PATH [FILE|FOLDER ...] [--SETTING VALUE ...]",
        "Classify image files, folders, patterns and addresses, or - for names on standard input; without any, the "
        "test images of the checkpoint's data set. Files that cannot be read are listed, and the rest is done.",
        (*_EVALUATION, "--save-images"),
    ),
}


def main_help(commands: Mapping[str, str], aliases: Mapping[str, str]) -> str:
    """The page of ``lit-cnn --help``.

    Args:
        commands: one line of help by name.
        aliases: other names of commands.
    """
    table = "".join(f"  {name:12}{text}\n" for name, text in commands.items())
    others = ", ".join(f"{alias} ({name})" for alias, name in aliases.items())
    return f"""\
lit-cnn trains, evaluates and resumes convolutional image models.

  lit-cnn fit --config lenet_digits                  train on digits
  lit-cnn fit photos                                 train on your own images
  lit-cnn fit --resume                               resume the newest run
  lit-cnn test --ckpt_path best                      test its best checkpoint
  lit-cnn predict --ckpt_path best photo.jpg dir/    classify images

Commands:
{table}  also: {others}

lit-cnn COMMAND --help describes one. Settings are flags (--model.lr 0.1) or
YAML (--config FILE). Precedence: flag, config, checkpoint, default.
--debug shows the traceback behind an error, --version the version.
"""


def run_help(command: str) -> str:
    """The page of ``lit-cnn COMMAND --help``.

    Args:
        command: fit, validate, test or predict.
    """
    usage, text, names = PAGES[command]
    lines = [f"usage: lit-cnn {command} {usage}", "", *textwrap.wrap(f"{text} {DEFAULTS}", WIDTH)]
    for group, settings in GROUPS.items():
        shown = [setting for setting in settings if not names or setting.flag.split()[0].rstrip(",") in names]
        if shown:
            lines += ["", f"{group}:"]
        for setting in shown:
            text = setting.help + (f" [{setting.default}]" if setting.default else "")
            first, *rest = textwrap.wrap(text, WIDTH - _FIRST)
            if len(setting.flag) + 4 > _FIRST:
                lines.append(f"  {setting.flag}")
                lines.append(" " * _FIRST + first)
            else:
                lines.append(f"  {setting.flag}".ljust(_FIRST) + first)
            lines += [" " * _FIRST + line for line in rest]
    lines += ["", f"lit-cnn {command} --help all".ljust(_FIRST) + "every setting of trainer and model"]
    lines += ["lit-cnn fit --data.help NAME".ljust(_FIRST) + "every setting of a data set"]
    lines += ["lit-cnn configs".ljust(_FIRST) + "the shipped configs and their results"] if command == "fit" else []
    return "\n".join(lines) + "\n"
