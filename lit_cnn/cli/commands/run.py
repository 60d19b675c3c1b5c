"""``lit-cnn fit``, ``validate``, ``test`` and ``predict``: one run of the trainer."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from lightning.pytorch import Callback

from lit_cnn import plugins, run_folder
from lit_cnn.callbacks.evaluation import EvaluationReport
from lit_cnn.callbacks.ood import read_detector
from lit_cnn.checkpoint.record import base_config
from lit_cnn.cli import budget, import_allowlist, logger_folders, transport, validation
from lit_cnn.cli.argv import Arguments, parse
from lit_cnn.cli.checkpoint_argument import (
    check_plugins,
    find_data_dir,
    find_record,
    given_root,
    predict_data,
    take_folder_to_predict,
)
from lit_cnn.cli.config import contents, drop, expand_homes, find_config, last_value, read_text, spell_models
from lit_cnn.cli.data_argument import choose_data
from lit_cnn.cli.evaluated_folder import evaluate_whole_folder
from lit_cnn.cli.exported_model import answer_by_file
from lit_cnn.cli.lightning_cli import LitCLI
from lit_cnn.cli.out_of_memory import report_out_of_memory
from lit_cnn.cli.parser_errors import reporting_mistakes
from lit_cnn.cli.report_page import write_page
from lit_cnn.cli.run_log import log_of_run
from lit_cnn.cli.run_messages import end_run, note_changed_data, print_profile, print_result, report_interrupt
from lit_cnn.cli.trained_task import check_task
from lit_cnn.cli.trainer import place_report
from lit_cnn.results.calibration import Calibration
from lit_cnn.results.prediction_files import STANDARD_OUTPUT
from lit_cnn.utils import allocator
from lit_cnn.utils.console import say
from lit_cnn.utils.lightning_internals import silence_lightning
from lit_cnn.utils.rank import is_rank_zero
from lit_cnn.utils.streams import reliable_streams


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``."""
    arguments = parse(words)
    if arguments.seeds is not None:
        from lit_cnn.cli.commands import sweep  # of use here only

        sweep.main(["sweep", *words[1:]])
    else:
        run(arguments, debug)


def run(
    arguments: Arguments, debug: bool = False, callbacks: Sequence[Callback] = (), *, python: bool = False
) -> LitCLI:
    """Run fit, validate, test or predict.

    Args:
        arguments: the command line.
        debug: leave Lightning's own messages on.
        callbacks: further ones, after the user's.
        python: for a Python caller, see ``check_plugins``.

    Returns:
        What was built and has been run.

    Raises:
        UserError: for every mistake that a user can fix.
        SystemExit: after ``--help``, ``--print_config``, or Ctrl-C in a run.
    """
    with reliable_streams(), log_of_run(arguments, debug), contextlib.ExitStack() as at_end:
        at_end.callback(transport.forget)
        stdout = sys.stdout
        if arguments.predictions == STANDARD_OUTPUT:  # which has the predictions and nothing else
            at_end.enter_context(contextlib.redirect_stdout(sys.stderr))
        return _run(arguments, debug, callbacks, python=python, stdout=stdout)


def _run(
    arguments: Arguments,
    debug: bool,
    callbacks: Sequence[Callback],
    *,
    python: bool,
    stdout: TextIO | None = None,
) -> LitCLI:
    if not debug:
        silence_lightning()
    allocator.keep_freed_memory()
    plugins.import_plugins(arguments.allow_import)
    arguments.flags = [(flag, expand_homes(value)) for flag, value in arguments.flags]  # YAML takes ~ for null
    arguments.configs = [find_config(config) for config in arguments.configs]
    record = find_record(arguments, given_root(arguments) or Path())
    if record is not None:
        check_plugins(record, arguments.allow_import, python=python)
    take_folder_to_predict(arguments)
    data = choose_data(arguments, record)
    if record is not None and not arguments.images:
        check_task(record, data)
    spell_models(arguments)
    for note in arguments.notes:
        say(note)
    validation.check_flags(arguments, record)
    if arguments.budget is not None:
        budget.apply(arguments, lambda trial, watches: _run(trial, debug, watches, python=python))
    words = [arguments.command]
    base: dict[str, Any] = {}
    if record is not None:
        base = base_config(record, arguments.command)
        if "data.normalize" in arguments.names():  # the user's choice wins over the checkpoint's numbers
            base["data"]["init_args"].update(mean=None, std=None)
        if arguments.images:
            base["data"] = predict_data(record, arguments.images)
        elif last_value(arguments, "data.data_dir") is None:
            find_data_dir(record, base)
        for flag, _ in arguments.flags:
            if flag.endswith("+"):  # the same command given again appends to nothing
                drop(base, flag.strip("-+"))
        words += ["--config", transport.hand_over(f"settings of {record.path}", base)]
    for config, content in contents(arguments).items():
        transport.hand_over(read_text(config), logger_folders.fill(content))
        words += ["--config", config]
    transport.keep_paths(arguments.flags)
    # the data set before its settings, in whatever order they were typed
    flags = sorted(arguments.flags, key=lambda flag: flag[0] != "--data")
    words += [word for flag in flags for word in logger_folders.flag_words(*flag)]
    words += arguments.bare
    with import_allowlist.only_allowed(import_allowlist.with_plugins(arguments.allow_import)):
        cli = LitCLI(arguments, record, base, words, data, callbacks)
        oom = report_out_of_memory(arguments.command, cli.run.config, record is not None)
        with cli.watchdog.guard(), report_interrupt(cli.trainer, arguments.allow_import), oom:
            _execute(cli, stdout)
    return cli


def _execute(cli: LitCLI, stdout: TextIO | None) -> None:
    """Run the command on the built trainer."""
    run, trainer = cli.run, cli.trainer
    ckpt_path = str(run.record.path) if run.record is not None else None
    try:
        if run.command == "fit":
            with reporting_mistakes():
                trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=ckpt_path, weights_only=True)
            end_run(cli.folder, trainer)
            print_profile(trainer)
            write_page(cli.folder)
            print_result(trainer, [name for name in run.requires if name in cli.arguments.allow_import])
            return
        assert run.record is not None
        assert cli.report is not None
        evaluate_whole_folder(cli.arguments, run.record, cli.datamodule)
        if is_rank_zero():
            note_changed_data(run.record, run.plain["data"], cli.datamodule)
            cli.report.out_dir = run_folder.new_subfolder(_results_folder(cli), run.command)
            place_report(trainer, Path(cli.report.out_dir))
        if isinstance(cli.report, EvaluationReport):
            if not cli.arguments.raw:
                cli.report.calibration = Calibration(**run.record.calibration)
            cli.report.ood = read_detector(run.record.ood)
            cli.report.output, cli.report.save_images = cli.arguments.predictions, cli.arguments.save_images
            cli.report.stream = stdout
        if answer_by_file(cli):
            ckpt_path = None
        evaluate = getattr(trainer, run.command)
        quiet = {"return_predictions": False} if run.command == "predict" else {"verbose": False}
        evaluate(cli.model, datamodule=cli.datamodule, ckpt_path=ckpt_path, weights_only=True, **quiet)
        print_profile(trainer)
        if is_rank_zero() and run.command != "predict":  # whose images are not those of the page
            write_page(Path(cli.report.out_dir).parent)
    except BaseException as error:
        if is_rank_zero():
            _clean_up(cli, error)
        raise
    finally:
        if cli.folder is not None and is_rank_zero():
            run_folder.unlock(cli.folder)


def _results_folder(cli: LitCLI) -> Path:
    """The run folder for the results of an evaluation.

    It is the checkpoint's own, unless the checkpoint was copied elsewhere, or the user names another place for results.
    """
    assert cli.run.record is not None
    own, given = run_folder.run_folder_of(cli.run.record.path), given_root(cli.arguments)
    if own is not None and (given is None or own.parent in (given.resolve(), (given / run_folder.LOGS).resolve())):
        return own
    return run_folder.new_run_folder(given or Path(cli.trainer.default_root_dir))


def _clean_up(cli: LitCLI, error: BaseException) -> None:
    """A new run that failed before its first step leaves no folder behind, nor does an evaluation."""
    if cli.report is not None:
        with contextlib.suppress(OSError):  # not made yet, or it holds results
            out_dir = Path(cli.report.out_dir)
            out_dir.rmdir()
            run_folder.discard(out_dir.parent)
    elif cli.folder is not None:
        # the trainer of a process that started others counts no steps itself
        if cli.trainer.global_step == 0 and not run_folder.has_trained(cli.folder):
            cli.discard_folder()
        end_run(cli.folder, cli.trainer, error)
