"""The task of a checkpoint with its weights."""

from __future__ import annotations

from lit_cnn.checkpoint.record import CheckpointRecord, load_verified
from lit_cnn.tasks.classification import ImageClassifier


def trained_task(record: CheckpointRecord) -> ImageClassifier:
    """The classifier of a checkpoint in evaluation mode, on the CPU and not compiled.

    Raises:
        UserError: the file is damaged, or its network cannot be built.
    """
    settings = {k: v for k, v in record.config["model"].items() if v is not None}
    settings |= {"num_classes": len(record.class_names), "in_channels": record.preprocessing["channels"]}
    settings["multilabel"] = bool(record.preprocessing.get("multilabel"))
    task = ImageClassifier(**{**settings, "weights": None, "compile": False})
    task.load_state_dict(load_verified(record.path)["state_dict"])
    task.eval()
    return task
