"""The LightningCLI subclass: parsing of settings, the links between them, and their precedence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from lit_cnn import run_folder
from lit_cnn.callbacks.best_checkpoint import BestCheckpoint
from lit_cnn.callbacks.evaluation import EvaluationReport
from lit_cnn.callbacks.restoration_report import RestorationReport
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli import chosen_settings, import_allowlist, monitoring, trainer_classes, transport, validation
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.config import (
    contents,
    data_settings,
    differences,
    display_name,
    expand_homes,
    flatten,
    print_differences,
    required_plugins,
)
from lit_cnn.cli.out_of_memory import report_out_of_memory
from lit_cnn.cli.parser_errors import humanize_parser_error, reporting_mistakes, reporting_trainer_mistakes
from lit_cnn.cli.run_messages import how_to_resume
from lit_cnn.cli.trained_task import data_task
from lit_cnn.cli.trainer import Run, loggers, make_run_folder, ordered_callbacks, plugins, profiler
from lit_cnn.data import ImageDataModule
from lit_cnn.data.registry import canonical_path, datasets
from lit_cnn.distributed import fsdp
from lit_cnn.distributed.watchdog import ProcessWatchdog
from lit_cnn.errors import UserError
from lit_cnn.optim.factory import default_lr
from lit_cnn.tuner import batch_size, lr_finder, precision
from lit_cnn.tuner.auto import AUTO
from lit_cnn.utils import run_log
from lit_cnn.utils.lightning_internals import count_epochs_with_max_steps
from lit_cnn.utils.rank import is_rank_zero

# what a run's config.yaml and its checkpoints hold
SETTINGS = (
    "seed_everything", "trainer", "model", "data", "checkpoint", "checkpoint_every", "skip_nonfinite_steps", "patience",
)  # fmt: skip


class LitCLI(LightningCLI):
    """LightningCLI with the model class of the data set, and the settings of a checkpoint as defaults.

    Precedence: flag > ``--config`` > checkpoint > default.

    Args:
        arguments: the parsed command line.
        record: the checkpoint that the command starts from, if any.
        base: settings that it brings.
        words: command line for the parser of settings.
        data: the data set, whose task is the model.
        callbacks: given by a Python caller.

    Attributes:
        trainer, model, datamodule: built, to be run.
        run: the command and its settings.
        watchdog: to be wrapped around the run.
        report: of an evaluation.
        folder: of a training run.
    """

    def __init__(
        self,
        arguments: Arguments,
        record: CheckpointRecord | None,
        base: dict[str, Any],
        words: list[str],
        data: str = "",
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.arguments = arguments
        self.task = data_task(data)
        self.callbacks = callbacks
        self.record = record
        self.base = base
        self.report: EvaluationReport | RestorationReport | None = None
        self.folder: Path | None = None
        self._building = ""
        self.sources: dict[str, set[str]] = {}  # of settings that follow from the images and the weights
        try:
            self._parse_and_build(words)
        except BaseException:
            self.discard_folder()
            raise

    def _parse_and_build(self, words: list[str]) -> None:
        how: dict[str, Any] = {"exit_on_error": False, "parser_mode": transport.MODE, "allow_abbrev": False}
        super().__init__(
            self.task,
            ImageDataModule,
            subclass_mode_data=True,
            trainer_class=precision.AutoTrainer,
            save_config_callback=None,  # RunMetadata does it
            seed_everything_default=42,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # would store a class to import in every checkpoint
            trainer_defaults={
                "max_epochs": validation.DEFAULT_EPOCHS,
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
            },
            parser_kwargs={**how, self.arguments.command: how},
            args=words,
        )

    def discard_folder(self) -> None:
        """Delete the folder of a new run that did not start."""
        if self.folder is not None and is_rank_zero():
            run_folder.discard(self.folder)

    # -- parsing ----------------------------------------------------------------------------------------------------

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # a static method in Lightning
        """Only the command that runs: building the parsers of the other three takes as long again as a short run."""
        return {self.arguments.command: LightningCLI.subcommands()[self.arguments.command]}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        self._building = subcommand
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links nobody types, and the checkpoint settings of ``fit``."""
        for name in self.task.from_data:
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")
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
                help="skip up to so many steps whose loss is NaN or infinite; 0 stops at the first",
            )
            parser.add_argument(
                "--patience",
                type=int | None,
                help="stop when the monitored metric has not improved for so many epochs; null: never",
            )
            parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
            parser.set_defaults(
                {
                    "checkpoint.filename": "best",
                    "checkpoint.monitor": f"val/{self.task.score}",
                    "checkpoint.mode": "max",
                    "checkpoint.auto_insert_metric_name": False,
                    # saved on an epoch's last batch, a resume would skip what happens at the epoch's end
                    "checkpoint.save_on_train_epoch_end": True,
                }
            )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; a parser's complaint becomes one line, and what settings may not name is never imported."""
        extra = import_allowlist.with_plugins(self.arguments.allow_import)
        sources = import_allowlist.sources(self.arguments, self.base, self.record.path if self.record else None)
        import_allowlist.check(sources, extra)
        trainer_classes.check(self.arguments)
        try:
            self.config: Namespace = parser.parse_args(args)  # type: ignore[arg-type]  # always words here
        except ArgumentError as error:
            if denied := import_allowlist.explain_denied(str(error), sources, extra):
                raise denied from error
            raise UserError(humanize_parser_error(str(error), self._known_settings(), datasets())) from error
        expand_homes(self._settings)
        import_allowlist.check_parsed(self._settings.as_dict(), sources, extra)
        if "init_args" not in self._settings.data:
            name = self._settings.data.class_path.rpartition(".")[2]
            raise UserError(f"{name}.__init__ must take **kwargs and pass them on: super().__init__(**kwargs)")

    @property
    def _settings(self) -> Namespace:
        """Parsed settings of the command."""
        return self.config[self.arguments.command]

    def _known_settings(self) -> list[str]:
        names = [a.dest for a in self._parser(self.arguments.command)._actions]
        chosen = [v for f, v in self.arguments.flags if f == "--data"] + [self.base.get("data", {}).get("class_path")]
        return [n for n in [*names, *data_settings(str(chosen[0]))] if n not in ("help", "data.help")]

    def _parse_ckpt_path(self) -> None:
        """Off: the checkpoint's settings come before configs and flags, so that these win."""

    def before_instantiate_classes(self) -> None:
        """Refuse what cannot work before anything is built, resolve ``auto``, and print what differs."""
        command, config = self.arguments.command, self._settings
        validation.check_choices(config, self.record)
        validation.check_devices(config.trainer)
        validation.check_strategy(config.trainer)
        validation.check_precision(config.trainer)
        config.trainer.callbacks = trainer_classes.plain_settings(config.trainer.callbacks)
        if command == "fit":
            monitoring.check(config, self.arguments, self.base, self.record)
            self.sources = chosen_settings.choose_settings(config, self.arguments, self.record, self._configs())
        plain = self._plain(config)
        asked = flatten({part: plain[part] for part in ("trainer", "model", "data")})
        if command == "fit":
            self._drop_default_epochs(config.trainer)
            validation.check_training(config, self.record)
        precision.resolve(config, self.record)
        if command == "fit":
            fsdp.check(config)
        batch_size.resolve(config, self.record)  # its search trains at the run's precision
        with report_out_of_memory(command, config, self.record is not None):
            lr_finder.resolve(config, self.record)  # on the run's batches
        data = config.data.init_args
        batched = self.task.kind == "classification" and "data.batch_size" in self.arguments.names()
        if command != "fit" and batched and data.eval_batch_size is None:
            data.eval_batch_size = data.batch_size  # the only batches there are
        plain = self._plain(config)
        if self.record is not None:
            validation.check_model(plain["model"], self.record, command)
        anyway, needed = self.arguments.resume_anyway, required_plugins(plain)
        self.run = Run(command, config, plain, self.record, anyway, needed, self.task.kind)
        if is_rank_zero():
            self._show_settings({name for name, value in asked.items() if value == AUTO})
        if command == "fit":
            validation.note_deterministic(config.trainer)

    def _drop_default_epochs(self, trainer: Namespace) -> None:
        """A number of steps alone is not limited by the default number of epochs."""
        given = self.arguments.names().union(*self._configs().values())
        if self.record is None and "trainer.max_steps" in given and "trainer.max_epochs" not in given:
            trainer.max_epochs = -1

    def _configs(self) -> dict[str, dict[str, Any]]:
        """Settings of every config file, flat."""
        return {display_name(path): flatten(content) for path, content in contents(self.arguments).items()}

    def _plain(self, config: Namespace) -> dict[str, Any]:
        """Resolved settings as plain nested types, without those that links fill in."""
        plain = transport.plain(self._parser(self.arguments.command), config)
        if plain.get("data"):
            plain["data"]["class_path"] = canonical_path(plain["data"]["class_path"])
        return {k: plain[k] for k in SETTINGS if k in plain}

    def _show_settings(self, resolved: set[str]) -> None:
        """Print what differs; ``resolved``: settings that were ``auto``."""
        parser = self._parser(self.arguments.command)
        if self.base:
            reference = parser.parse_object(self.base)
        else:
            reference = parser.parse_object({"data": self.run.plain["data"]["class_path"]})
        before = flatten(self._plain(reference))
        before["model.lr"] = before["model.lr"] or default_lr(before["model.optimizer"])
        if not self.base:
            del before["data"]  # the data set is the user's choice, there is no default
        rows = differences(
            flatten(self.run.plain),
            before,
            self.arguments.names() - resolved,
            {**self.sources, **self._configs(), AUTO: resolved},
        )
        self.run.changed = rows
        print_differences(rows, str(self.record.path) if self.record else "the defaults")

    # -- building ---------------------------------------------------------------------------------------------------

    def instantiate_classes(self) -> None:
        """Build model, data set and trainer; see :func:`reporting_mistakes`."""
        trainer = self._settings.trainer
        self._logger, trainer.logger = trainer.logger, None  # built when it has a folder to write into
        with reporting_mistakes():
            super().instantiate_classes()
        self.model: LightningModule
        self.model.resumes = self.record is not None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, and for ``fit`` its run folder; see :mod:`lit_cnn.cli.trainer`."""
        config, run = self._settings.trainer, self.run
        if run.command != "fit":
            kwargs["logger"] = False  # results go to files of their own
            self.report = EvaluationReport("") if self.task.kind == "classification" else RestorationReport("")
        elif not config.fast_dev_run:
            self.folder = make_run_folder(Path(config.default_root_dir or "."), self.record, self.arguments.name)
            run.folder = self.folder
            if is_rank_zero():
                run_log.write_to(run.folder)
            self.config_init["fit"]["checkpoint"].dirpath = str(run.checkpoints)
        kwargs["enable_checkpointing"] = run.keeps_checkpoints
        built = self._get(self.config_init, "trainer")
        kwargs["plugins"] = plugins(built.get("plugins"))
        kwargs["profiler"] = profiler(built.get("profiler"), run.folder)
        kwargs["max_time"] = None  # TimeLimit does it
        if run.folder is not None:
            kwargs["logger"] = loggers(run.folder, self.record, self._logger)
        with reporting_mistakes(), reporting_trainer_mistakes():
            trainer = super().instantiate_trainer(**kwargs)
        count_epochs_with_max_steps(trainer)
        self.watchdog.watch(trainer)
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        self.watchdog = ProcessWatchdog(lambda: how_to_resume(self.trainer, self.arguments.allow_import))
        users = config["callbacks"] or []
        users = list(users) if isinstance(users, (list, tuple)) else [users]
        config["callbacks"] = ordered_callbacks(self.run, self.watchdog, users, self.callbacks, callbacks, self.report)
        config["strategy"] = fsdp.strategy_of(config["strategy"])
        return super()._instantiate_trainer(config, [])

    def _run_subcommand(self, subcommand: str) -> None:
        """Off: :mod:`lit_cnn.cli.commands.run` does it, when it is ready to report an interruption."""
