"""The tasks by kind: a data set names the kind of task that its images are for (``ImageDataModule.task``)."""

from __future__ import annotations

from lit_cnn.tasks.base import BaseTask
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.restoration import ImageRestorer

TASKS: dict[str, type[BaseTask]] = {cls.kind: cls for cls in (ImageClassifier, ImageRestorer)}
