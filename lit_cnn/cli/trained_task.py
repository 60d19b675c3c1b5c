"""The task of a data set, and that of a checkpoint with its weights."""

from __future__ import annotations

from lit_cnn.checkpoint.record import CheckpointRecord, load_verified
from lit_cnn.data.registry import find_dataset
from lit_cnn.errors import UserError
from lit_cnn.tasks.base import BaseTask
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.kinds import TASKS

DOES = {"classification": "classifies images", "restoration": "restores images"}


def data_task(name: str) -> type[BaseTask]:
    """The task that the images of a data set are for, by the name of the data set or its class path."""
    return TASKS[getattr(find_dataset(name), "task", ImageClassifier.kind)]


def check_task(record: CheckpointRecord, data: str) -> None:
    """Refuse to run a checkpoint on a data set for another task.

    Raises:
        UserError: naming both.
    """
    kind = data_task(data).kind
    if kind != record.task:
        own = str(record.config["data"]["class_path"]).rpartition(".")[2]
        raise UserError(
            f"{record.path} {DOES[record.task]}, and the images of {data.rpartition('.')[2]} are for a network that "
            f"{DOES[kind]}: give images as {own} reads them"
        )


def check_classifier(record: CheckpointRecord, what: str) -> None:
    """Refuse a checkpoint of another task where classes are needed.

    Args:
        record: of the checkpoint.
        what: the command that needs them.

    Raises:
        UserError: the checkpoint has none.
    """
    if record.task != ImageClassifier.kind:
        raise UserError(f"{record.path} {DOES[record.task]} and has no classes, which {what} needs")


def trained_task(record: CheckpointRecord, what: str = "this command") -> ImageClassifier:
    """The classifier of a checkpoint in evaluation mode, on the CPU and not compiled.

    Args:
        record: of the checkpoint.
        what: the command that needs it.

    Raises:
        UserError: the file is damaged, its network cannot be built, or it is no classifier.
    """
    check_classifier(record, what)
    task = task_of(record)
    assert isinstance(task, ImageClassifier)
    return task


def task_of(record: CheckpointRecord) -> BaseTask:
    """The task of a checkpoint, of whatever kind, in evaluation mode, on the CPU and not compiled.

    Raises:
        UserError: the file is damaged, or its network cannot be built.
    """
    settings = {k: v for k, v in record.config["model"].items() if v is not None}
    settings |= {"in_channels": record.preprocessing["channels"], "weights": None, "compile": False}
    if record.task == ImageClassifier.kind:
        settings |= {"num_classes": len(record.class_names)}
        settings |= {"multilabel": bool(record.preprocessing.get("multilabel"))}
    task = TASKS[record.task](**settings)
    task.load_state_dict(load_verified(record.path)["state_dict"])
    task.eval()
    return task
