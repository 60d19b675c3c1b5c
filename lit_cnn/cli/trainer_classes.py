"""Which callbacks, loggers, profilers and strategies of Lightning a run takes, and what to use instead of the others.

docs/callbacks.md shows these tables.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch import loggers as lightning_loggers
from lightning.pytorch import profilers as lightning_profilers

from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.config import contents, last_value
from lit_cnn.errors import UserError, nearest

WORKS = ""
_BASE = "it is a base class: name one that is derived from it"
_KEEPS_STATE = "a resumed run would not end with the bits of an uninterrupted one"
# By name of the class: WORKS, or why not and what to use instead.
CALLBACKS = {
    "BackboneFinetuning": (
        "it would freeze the head with the backbone: use --model.freeze backbone with --model.freeze_epochs N"
    ),
    "BaseFinetuning": _BASE,
    "BasePredictionWriter": "it is a base class: predict writes predictions.csv without it",
    "BatchSizeFinder": "use --batch-size auto, which records what it finds",
    "Callback": _BASE,
    "Checkpoint": _BASE,
    "DeviceStatsMonitor": WORKS,
    "EarlyStopping": WORKS,
    "EMAWeightAveraging": WORKS,
    "GradientAccumulationScheduler": WORKS,
    "LambdaCallback": WORKS,
    "LearningRateFinder": "use --lr auto, which records what it finds",
    "LearningRateMonitor": WORKS,
    "ModelCheckpoint": WORKS,
    "ModelPruning": f"it renames the weights in checkpoints, and {_KEEPS_STATE}: prune a trained model in Python",
    "ModelSummary": WORKS,
    "OnExceptionCheckpoint": "last.ckpt is saved when a step fails without it: fit --resume goes on from there",
    "ProgressBar": "it is a base class, and there is a progress bar without it",
    "RichModelSummary": WORKS,
    "RichProgressBar": WORKS,
    "SpikeDetection": f"{_KEEPS_STATE}: use --skip_nonfinite_steps N or --trainer.gradient_clip_val 1",
    "StochasticWeightAveraging": f"it replaces the schedule, and {_KEEPS_STATE}: use --model.ema_decay 0.999, or "
    "lit-cnn average for the weights of several epochs",
    "ThroughputMonitor": WORKS,
    "Timer": WORKS,
    "TQDMProgressBar": WORKS,
    "WeightAveraging": WORKS,
}
LOGGERS = {
    "CometLogger": WORKS,
    "CSVLogger": WORKS,
    "LitLogger": WORKS,
    "Logger": _BASE,
    "MLFlowLogger": WORKS,
    "NeptuneLogger": "Lightning has removed it: use MLFlowLogger, WandbLogger or CometLogger",
    "TensorBoardLogger": WORKS,
    "WandbLogger": WORKS,
}
PROFILERS = {
    "AdvancedProfiler": WORKS,
    "PassThroughProfiler": WORKS,
    "Profiler": _BASE,
    "PyTorchProfiler": WORKS,
    "SimpleProfiler": WORKS,
    "XLAProfiler": "it is for TPUs: use pytorch",
}
# Names that the Trainer takes for a profiler.
PROFILER_NAMES = {
    "simple": "SimpleProfiler",
    "advanced": "AdvancedProfiler",
    "pytorch": "PyTorchProfiler",
    "xla": "XLAProfiler",
}
_TABLES = {
    "callbacks": (CALLBACKS, lightning_callbacks),
    "logger": (LOGGERS, lightning_loggers),
    "profiler": (PROFILERS, lightning_profilers),
}
# Packages that classes need besides lit-cnn's own: the module, and its name for pip.
PACKAGES = {
    "CometLogger": ("comet_ml", "comet-ml"),
    "DeviceStatsMonitor": ("psutil", "psutil"),
    "LitLogger": ("litlogger", "litlogger"),
    "MLFlowLogger": ("mlflow", "mlflow"),
    "TQDMProgressBar": ("tqdm", "tqdm"),
    "WandbLogger": ("wandb", "wandb"),
}
# Values for arguments without a default, as an example.
_EXAMPLES = {
    "monitor": "val/loss",
    "scheduling": "'{4: 2}'",
    "batch_size_fn": "mymodule.size, a function of yours, with --allow_import mymodule",
}
SAVE_DIR = "save_dir"  # of a logger: the run folder where it is not given

_SPAWN = "ranks cannot be started by spawn here: use ddp, which starts them as scripts"
_DEEPSPEED = "its checkpoints are folders, which lit-cnn cannot read: use fsdp to shard a model"
_TPU = "it is for TPUs, which lit-cnn has not been tried on: use ddp on GPUs"


def strategy_reason(name: str) -> str:
    """Why a strategy that Lightning knows by ``name`` is refused, and what to use instead; empty where it works."""
    if "spawn" in name:
        return _SPAWN
    if name.startswith("deepspeed"):
        return _DEEPSPEED
    return _TPU if "xla" in name or "tpu" in name else WORKS


@dataclass
class Given:
    """A class that the settings name for a part of the trainer.

    Attributes:
        name: as it is written.
        init_args: its arguments that are given.
    """

    name: str
    init_args: dict[str, Any] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """The name of the class without its module."""
        return self.name.rpartition(".")[2]

    @property
    def is_lightnings(self) -> bool:
        """Whether it is none of the user's own classes."""
        return self.name == self.short or self.name.startswith(("lightning.pytorch.", "pytorch_lightning."))


def given(setting: str, arguments: Arguments, base: Mapping[str, Any]) -> list[Given]:
    """The classes that the settings name for ``trainer.SETTING``, before they are parsed.

    Args:
        setting: callbacks, logger or profiler.
        arguments: the command line with its configs.
        base: settings that come from a checkpoint.
    """
    found: list[Given] = []
    for content in (base, *contents(arguments).values()):
        trainer = content.get("trainer")
        if isinstance(trainer, Mapping) and setting in trainer:
            found = named(trainer[setting])
    for flag, text in arguments.flags:
        name, value = flag.lstrip("-").rstrip("+"), load_text(text)
        key = name.removeprefix(f"trainer.{setting}.").removeprefix("init_args.")
        if name == f"trainer.{setting}":
            new = named(value)
            # the parser keeps the arguments of a class that is named once more
            again = isinstance(value, str) and [item.name for item in new] == [item.name for item in found]
            found = [*found, *new] if flag.endswith("+") else found if again else new
        elif name == f"trainer.{setting}.class_path":
            found = [*found[:-1], Given(str(value))]
        elif key != name and found:
            found[-1].init_args[key] = value
    return found


def load_text(text: str) -> Any:
    """The value of a flag, as YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def named(value: Any) -> list[Given]:
    """The classes in a value of ``trainer.callbacks`` and the like, before it is parsed."""
    if isinstance(value, (list, tuple)):
        return [found for item in value for found in named(item)]
    if isinstance(value, str):
        return [Given(value)]
    if isinstance(value, Mapping) and "class_path" in value:
        if stray := [str(key) for key in value if key not in ("class_path", "init_args", "dict_kwargs")]:
            short = str(value["class_path"]).rpartition(".")[2]
            raise UserError(
                f"{short}: {', '.join(stray)} belongs below init_args, as in init_args: {{{stray[0]}: ...}}"
            )
        return [Given(str(value["class_path"]), dict(value.get("init_args") or {}))]
    return []


def check(arguments: Arguments) -> None:
    """Refuse what does not work, a package that is missing, and an argument that is needed, before anything is parsed.

    What a checkpoint brings is not checked: the run began with it.

    Raises:
        UserError: naming the class, and what to use instead.
    """
    for setting, (table, module) in _TABLES.items():
        if setting == "profiler" and last_value(arguments, "trainer.profiler") in (True, "true", "True"):
            raise UserError("--trainer.profiler true: choose one, simple, advanced or pytorch")
        for item in given(setting, arguments, {}):
            if setting == "profiler" and "." not in item.name:
                item.name = _profiler_class(item.name)
            if not item.is_lightnings or item.short not in table:
                continue  # the user's own, or the parser says that there is none
            flag = f"--trainer.{setting}"
            if reason := table[item.short]:
                raise UserError(f"{flag} {item.short}: {reason}")
            if item.short in PACKAGES and importlib.util.find_spec(PACKAGES[item.short][0]) is None:
                package = PACKAGES[item.short][1]
                raise UserError(f"{flag} {item.short} needs the package {package}: pip install {package}")
            missing = [name for name in _required(getattr(module, item.short)) if name not in item.init_args]
            if missing:
                example = _EXAMPLES.get(missing[0], "VALUE")
                raise UserError(f"{item.short} needs {missing[0]}: add {flag}.{missing[0]} {example}")


def _required(cls: type) -> list[str]:
    """Arguments without a default that a user has to give."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]  # no instance
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [p.name for p in plain if p.default is p.empty and p.name != SAVE_DIR]


def _profiler_class(name: str) -> str:
    found = PROFILER_NAMES.get(name.lower(), name)
    if found not in PROFILERS:
        near = nearest(name, [*PROFILER_NAMES, *PROFILERS]) or ";"
        raise UserError(f"unknown --trainer.profiler {name!r}{near} simple, advanced and pytorch are the usual ones")
    return found


def plain_settings(callbacks: Any) -> list[Namespace] | None:
    """Parsed ``trainer.callbacks`` as a list, with enumerations by their values, as config.yaml holds them."""
    if callbacks is None:
        return None
    items = callbacks if isinstance(callbacks, list) else [callbacks]
    for item in items:
        for name, value in list(item.get("init_args", Namespace()).items()):
            if isinstance(value, Enum):
                item.init_args[name] = value.value
    return items
