"""The commands: a LightningCLI whose checkpoints are enough on their own."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from lit_cnn import data as data_package
from lit_cnn import run_folder
from lit_cnn.callbacks.bad_images import BadImages
from lit_cnn.callbacks.best_checkpoint import BestCheckpoint
from lit_cnn.callbacks.csv_logger import MetricsCSV
from lit_cnn.callbacks.curves import Curves
from lit_cnn.callbacks.evaluation import EvaluationReport
from lit_cnn.callbacks.last_checkpoint import LastCheckpoint
from lit_cnn.callbacks.nan_guard import NanGuard
from lit_cnn.callbacks.progress_bar import Progress
from lit_cnn.callbacks.run_metadata import RunRecord
from lit_cnn.callbacks.throughput_report import Preview
from lit_cnn.checkpoint.interval import Every
from lit_cnn.checkpoint.io import AtomicCheckpointIO
from lit_cnn.checkpoint.record import Record, base_config
from lit_cnn.cli import checkpoint_argument, import_allowlist, validation
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.commands.run import execute, how_to_go_on, interruption_told
from lit_cnn.cli.config import differences, drop, flatten, print_differences, read_config
from lit_cnn.cli.parser_errors import explain
from lit_cnn.cli.unprofiled import Unprofiled
from lit_cnn.data import ImageDataModule, Images
from lit_cnn.distributed import fsdp
from lit_cnn.distributed.watchdog import Peers
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tuner import batch_size, lr_finder, precision
from lit_cnn.tuner.auto import AUTO
from lit_cnn.utils import allocator, memory

DATASETS = sorted(
    name
    for name, item in vars(data_package).items()
    if isinstance(item, type) and issubclass(item, ImageDataModule) and item not in (ImageDataModule, Images)
)

# what a run's config.yaml and its checkpoints hold
SETTINGS = ("seed_everything", "trainer", "model", "data", "checkpoint", "checkpoint_every", "skip_nonfinite_steps")


def data_settings(name: str) -> list[str]:
    """Settings of the data set of that name (or class path), such as ``data.batch_size``."""
    probe = ArgumentParser()
    probe.add_class_arguments(getattr(data_package, name.rpartition(".")[2], ImageDataModule), "data")
    return [a.dest for a in probe._actions if a.dest not in ("help", "data.seed")]


def run(arguments: Arguments, debug: bool = False, callbacks: Sequence[Callback] = ()) -> None:
    """Run fit, validate, test or predict.

    Args:
        arguments: the command line.
        debug: leave Lightning's own messages on.
        callbacks: further ones, before all others.

    Raises:
        UserError: for every mistake that a user can mend.
        SystemExit: after ``--help``, ``--print_config``, or Ctrl-C in a run.
    """
    if not debug:
        _quiet()
    allocator.keep_freed()
    record = checkpoint_argument.find_record(arguments, checkpoint_argument.root_folder(arguments))
    validation.check_flags(arguments, record)
    words = [arguments.command]
    base: dict[str, Any] = {}
    if record is not None:
        base = base_config(record, arguments.command)
        if "data.normalize" in arguments.names():  # the user's choice wins over the checkpoint's numbers
            base["data"]["init_args"].update(mean=None, std=None)
        if arguments.images:
            base["data"] = checkpoint_argument.pictures_config(record, arguments.images)
        for flag, _ in arguments.flags:
            if flag.endswith("+"):  # the same command given again appends to nothing
                drop(base, flag.strip("-+"))
        words += ["--config", json.dumps(base)]
    for config in arguments.configs:
        read_config(config)  # for its error messages
        words += ["--config", config]
    words += [word for flag in arguments.flags for word in flag]
    words += arguments.bare
    with import_allowlist.only_allowed(arguments.allow_import):
        cli = LitCLI(arguments, record, base, words, callbacks)
        scarce = memory.out_of_memory_told(arguments.command, cli.config[arguments.command], record is not None)
        with cli.peers.together(), interruption_told(cli), scarce:
            execute(cli)


class LitCLI(LightningCLI):
    """LightningCLI with one model class, data sets by name, and settings that come from a checkpoint first.

    Precedence: flag > ``--config`` > checkpoint > default.
    """

    def __init__(
        self,
        arguments: Arguments,
        record: Record | None,
        base: dict[str, Any],
        words: list[str],
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.arguments = arguments
        self.callbacks = callbacks
        self.record = record
        self.base = base
        self.run_dir: Path | None = None  # of a training run; evaluations make their own folder in run()
        self._building = ""
        super().__init__(
            ImageClassifier,
            ImageDataModule,
            subclass_mode_data=True,
            trainer_class=precision.AutoTrainer,
            save_config_callback=None,  # RunRecord does it
            seed_everything_default=42,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # would store a class to import in every checkpoint
            trainer_defaults={
                "max_epochs": validation.DEFAULT_EPOCHS,
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
            },
            parser_kwargs={"exit_on_error": False, arguments.command: {"exit_on_error": False}},
            args=words,
        )

    # -- parsing ----------------------------------------------------------------------------------------------------

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # a static method in Lightning
        """Only the command that runs: building the parsers of the other three takes as long again as a short run."""
        return {self.arguments.command: LightningCLI.subcommands()[self.arguments.command]}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        self._building = subcommand
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links nobody types, and the checkpoint settings of ``fit``."""
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.link_arguments("data.in_channels", "model.in_channels", apply_on="instantiate")
        parser.link_arguments("seed_everything", "model.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")
        if self._building == "fit":
            parser.add_argument(
                "--checkpoint_every",
                type=str | int | None,
                help="how often to save last.ckpt: 500 (optimizer steps), 5m (minutes), 10epochs; null: every epoch",
            )
            parser.add_argument(
                "--skip_nonfinite_steps",
                type=int,
                default=0,
                help="leave out up to so many steps whose loss is NaN or infinite; 0 stops at the first",
            )
            parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
            parser.set_defaults(
                {
                    "checkpoint.filename": "best",
                    "checkpoint.monitor": "val/acc",
                    "checkpoint.mode": "max",
                    "checkpoint.auto_insert_metric_name": False,
                    # saved on an epoch's last batch, a resume would skip what happens at the epoch's end
                    "checkpoint.save_on_train_epoch_end": True,
                }
            )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; a parser's complaint becomes one line, and what settings may not name is never imported."""
        extra = self.arguments.allow_import
        sources = import_allowlist.sources(self.arguments, self.base, self.record.path if self.record else None)
        import_allowlist.check(sources, extra)
        try:
            self.config: Namespace = parser.parse_args(args)  # type: ignore[arg-type]  # always words here
        except ArgumentError as error:
            if denied := import_allowlist.explain_denied(str(error), sources, extra):
                raise denied from error
            raise UserError(explain(str(error), self._known_settings(), DATASETS)) from error
        import_allowlist.check_parsed(self.config[self.arguments.command].as_dict(), sources, extra)

    def _known_settings(self) -> list[str]:
        names = [a.dest for a in self._parser(self.arguments.command)._actions]
        chosen = [v for f, v in self.arguments.flags if f == "--data"] + [self.base.get("data", {}).get("class_path")]
        return [n for n in [*names, *data_settings(str(chosen[0]))] if n not in ("help", "data.help")]

    def _parse_ckpt_path(self) -> None:
        """Off: :func:`run` puts the checkpoint's settings before configs and flags, so that these win."""

    def before_instantiate_classes(self) -> None:
        """Refuse what cannot work before anything is built, then show what differs."""
        command = self.arguments.command
        config = self.config[command]
        validation.check_devices(config.trainer)
        validation.check_strategy(config.trainer)
        sought = flatten({part: self._plain(config)[part] for part in ("trainer", "model", "data")})
        if command == "fit":
            self._let_steps_decide(config.trainer)
            validation.check_training(config, self.record)
        precision.settle(config, self.record)
        if command == "fit":
            fsdp.check(config)
        batch_size.settle(config, self.record)  # its search trains at the run's precision
        lr_finder.settle(config, self.record)  # on the run's batches
        data = config.data.init_args
        if command != "fit" and "data.batch_size" in self.arguments.names() and data.eval_batch_size is None:
            data.eval_batch_size = data.batch_size  # the only batches there are
        self.plain_config = self._plain(config)
        if self.record is not None:
            validation.check_model(self.plain_config["model"], self.record, command)
        if checkpoint_argument.is_first_process():
            self._show_settings({name for name, value in sought.items() if value == AUTO})
            if command == "fit" and config.trainer.deterministic:
                print(
                    "deterministic: on a GPU this costs speed, since the fastest algorithms are left out, and an "
                    "operation without a repeatable form stops the run; on the CPU runs repeat bit for bit anyway"
                )

    def _let_steps_decide(self, trainer: Namespace) -> None:
        """A number of steps alone is not cut short by the default number of epochs."""
        said = self.arguments.names().union(*self._configs().values())
        if self.record is None and "trainer.max_steps" in said and "trainer.max_epochs" not in said:
            trainer.max_epochs = -1

    def _configs(self) -> dict[str, dict[str, Any]]:
        """Settings of every config file, flat."""
        return {path: flatten(read_config(path)) for path in self.arguments.configs}

    def _plain(self, config: Namespace) -> dict[str, Any]:
        """Resolved settings as plain nested types, without those that links fill in."""
        text = self._parser(self.arguments.command).dump(config, skip_unset=False, skip_validation=True)
        plain = yaml.safe_load(text)
        return {k: plain[k] for k in SETTINGS if k in plain}

    def _show_settings(self, found: set[str]) -> None:
        """Print what differs; ``found``: settings that were ``auto``."""
        parser = self._parser(self.arguments.command)
        if self.base:
            reference = parser.parse_object(self.base)
        else:
            reference = parser.parse_object({"data": self.plain_config["data"]["class_path"]})
        before = flatten(self._plain(reference))
        if not self.base:
            del before["data"]  # the data set is the user's choice, there is no default
        rows = differences(
            flatten(self.plain_config),
            before,
            self.arguments.names() - found,
            {**self._configs(), AUTO: found},
        )
        print_differences(rows, str(self.record.path) if self.record else "the defaults")

    # -- building ---------------------------------------------------------------------------------------------------

    def instantiate_classes(self) -> None:
        """Build; see :func:`mistakes_told`."""
        with mistakes_told():
            super().instantiate_classes()
        self.model.resumes = self.record is not None

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        if config["enable_checkpointing"] is False:
            callbacks = [c for c in callbacks if not isinstance(c, ModelCheckpoint)]
        config["strategy"] = fsdp.strategy_of(config["strategy"])
        return super()._instantiate_trainer(config, callbacks)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Trainer with this project's callbacks and, for ``fit``, its run folder."""
        config = self.config[self.arguments.command].trainer
        callbacks: list[Callback] = [*self.callbacks]
        if config.enable_progress_bar is not False:
            callbacks += [Progress(), *([Preview()] if self.arguments.command == "fit" else [])]
        keeps = self.arguments.command == "fit" and config.enable_checkpointing is not False
        if self.arguments.command == "fit" and config.fast_dev_run:
            keeps = False  # a trial of the code: it leaves nothing behind
        elif self.arguments.command == "fit":
            # made now, so that two runs that start together cannot both take the same number
            self.run_dir = self._run_folder(Path(config.default_root_dir or "."))
            if checkpoint_argument.is_first_process():
                run_folder.hold(self.run_dir)
            self.config_init["fit"]["checkpoint"].dirpath = str((self.run_dir / "checkpoints").resolve())
            record = RunRecord(self.plain_config, self.run_dir, self.record, self.arguments.resume_anyway)
            finite = NanGuard(self.config["fit"].skip_nonfinite_steps)
            callbacks += [record, finite, Curves(), BadImages(self.run_dir)]
            if config.logger in (None, True):
                kwargs["logger"] = self._loggers(self.run_dir)
        else:
            kwargs["logger"] = False  # results go to files of their own
            self.report = EvaluationReport("")
            callbacks.append(self.report)
        kwargs["callbacks"] = [*(self._get(self.config_init, "trainer").get("callbacks") or []), *callbacks]
        kwargs["enable_checkpointing"] = keeps
        plugins = self._get(self.config_init, "trainer").get("plugins") or []
        plugins = list(plugins) if isinstance(plugins, (list, tuple)) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, AtomicCheckpointIO()]
        if self._get(self.config_init, "trainer").get("profiler") is None:
            kwargs["profiler"] = Unprofiled()
        trainer = super().instantiate_trainer(**kwargs)
        # With max_steps set, Lightning takes a checkpoint of an epoch's end for one of its middle: a resume would
        # repeat the end and count the epoch twice.
        trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]  # no setting for it
        if keeps and self.run_dir is not None:
            # after the one that keeps the best, so that last.ckpt knows of this epoch's best too
            folder = (self.run_dir / "checkpoints").resolve()
            last = LastCheckpoint(folder, Every.parse(self.config["fit"].checkpoint_every))
            trainer.callbacks.append(last)  # type: ignore[attr-defined]  # untyped in Lightning
        self.peers = Peers(lambda: how_to_go_on(self))
        self.peers.watch(trainer)
        return trainer

    def _run_folder(self, root: Path) -> Path:
        if self.record is not None and (folder := run_folder.run_folder_of(self.record.path)) is not None:
            return folder  # a resumed run goes on in its own folder
        if not checkpoint_argument.is_first_process():
            return (
                root / run_folder.LOGS / "unknown"
            )  # the first process writes there, and tells where the checkpoints are
        return run_folder.new_run_folder(root)

    def _loggers(self, run_dir: Path) -> list[Any]:
        # on resume, events past the checkpoint are dropped, as they are going to be written again
        purge: dict[str, Any] = {}
        if self.record is not None:
            purge["purge_step"] = self.record.step - self.record.cut  # a cut epoch's last step holds half an epoch
        # no name and no version: the events lie in the run folder itself
        return [MetricsCSV(run_dir), TensorBoardLogger(str(run_dir), "", "", default_hp_metric=False, **purge)]

    def _run_subcommand(self, subcommand: str) -> None:
        """Off: :func:`lit_cnn.cli.commands.run.execute` does it, when the caller is ready to tell an interruption."""


@contextlib.contextmanager
def mistakes_told() -> Iterator[None]:
    """A user's mistake that a class found in its settings comes out as such.

    The parser takes it for one more type that does not fit, and lists it among the others.
    """
    try:
        yield
    except ValueError as error:
        if found := re.search(r"Errors:\n  - (.+)", str(error)):
            raise UserError(found[1]) from error
        raise


def _quiet() -> None:
    """Keep Lightning's advertising and advice about its own DataLoader off the terminal."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", module=r"torchmetrics\..*")
