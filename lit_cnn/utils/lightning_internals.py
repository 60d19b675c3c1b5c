"""Every private name of Lightning that lit_cnn uses, in one file: check it against each new release.

Checked against lightning 2.6. Whoever needs another private name adds a function here that says why there is no public
way.
"""

from __future__ import annotations

import logging
import os
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.fabric.connector import _PRECISION_INPUT
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from lit_cnn.utils.console import say
from lit_cnn.utils.rank import PARENT

PRECISION_INPUT = _PRECISION_INPUT  # type of Trainer(precision=…)
BATCHES_THAT_STEPPED = "_batches_that_stepped"  # key of the epoch loop's state in checkpoints


# Modules whose messages are what a user asked for: a summary, a report, ``verbose``.
ASKED_FOR = (
    "callbacks.early_stopping",
    "callbacks.finetuning",
    "callbacks.model_checkpoint",
    "callbacks.model_summary",
    "callbacks.pruning",
    "profilers.profiler",
)
_RANK_ZERO = "lightning.pytorch.utilities.rank_zero"  # logger of what any module says on rank zero only


class _Lines(logging.Handler):
    """Print what was asked for as lines of the run; whatever else Lightning says is dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message, but not that a run stops: StopReport says it for all reasons alike."""
        module = ".".join(Path(record.pathname).with_suffix("").parts[-2:])
        message = record.getMessage()
        if module in ASKED_FOR and "Signaling Trainer to stop" not in message:
            say(message.strip("\n"))


def silence_lightning() -> None:
    """Turn off Lightning's advertising and its advice about its own DataLoader; what was asked for is printed."""
    for name in (_RANK_ZERO, *(f"lightning.pytorch.{module}" for module in ASKED_FOR)):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = [_Lines()]
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", module=r"torchmetrics\..*")


def log_epoch_before_saving(trainer: Trainer) -> None:
    """Log the epoch's metrics now, in ``on_train_epoch_end``, and leave Lightning nothing to log twice.

    Lightning logs after the checkpoints of an epoch's end are saved.
    """
    loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
    connector.on_epoch_end()  # collects what callbacks and the progress bar read
    loop._batches_that_stepped -= 1  # loggers expect the number of the epoch's last step
    connector.update_train_epoch_metrics()
    loop._batches_that_stepped += 1


def count_epochs_with_max_steps(trainer: Trainer) -> None:
    """Let a checkpoint of an epoch's end count as one although ``max_steps`` is set.

    Lightning takes it for one of the epoch's middle then: a resume would repeat the end and count the epoch twice.
    """
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]  # no setting for it


def handle_sigterm_by(trainer: Trainer, handler: Callable[[int, FrameType | None], None]) -> None:
    """Replace what Lightning does on SIGTERM while nothing trains, and its message about it before each batch.

    Its handler calls a collective, which waits for ever where only one rank got the signal; and its rank zero
    broadcasts before each batch whether it got one, where here all ranks reduce their flags after a step.
    """
    trainer._signal_connector._sigterm_notifier_fn = handler  # type: ignore[method-assign, assignment]  # no setting for it
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]  # no setting for it


def loops_state(trainer: Trainer) -> dict[str, Any]:
    """Progress of all loops, as a checkpoint holds it; not a copy."""
    return trainer._checkpoint_connector._get_loops_state_dict()


class UnobservedLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher of ranks, without its observer, which kills every process of a machine without a message.

    Args:
        environment: the cluster's.
        num_processes: on this machine.
        num_nodes: machines.
        children: the processes that are launched are appended to it.
    """

    def __init__(
        self, environment: Any, num_processes: int, num_nodes: int, children: list[subprocess.Popen[bytes]]
    ) -> None:
        super().__init__(environment, num_processes, num_nodes)
        self._children = children

    def _call_children_scripts(self) -> None:
        os.environ[PARENT] = str(os.getpid())
        super()._call_children_scripts()
        del os.environ[PARENT]
        self._children += self.procs
        self.procs = []  # the observer sees none, and ends

    def kill(self, signum: int) -> None:
        """Send a signal to the launched processes."""
        for child in self._children:
            child.send_signal(signum)


def replace_launcher(trainer: Trainer, children: list[subprocess.Popen[bytes]]) -> Any:
    """Let the trainer launch its ranks by :class:`UnobservedLauncher`.

    Returns:
        The cluster environment of the launcher that was there; ``None`` where ranks are not started as scripts.
    """
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher):
        return None
    environment = launcher.cluster_environment
    trainer.strategy._launcher = UnobservedLauncher(environment, launcher.num_processes, launcher.num_nodes, children)
    return environment
