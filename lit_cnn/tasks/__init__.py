"""Tasks: one LightningModule for each kind of problem, around any backbone.

- :mod:`~lit_cnn.tasks.base`: ``Task``, what callbacks and commands may ask of a task, and ``BaseTask``, which holds
  all that tasks share: starting weights, freezing, optimizer, schedule, weight averaging, running means, seeds, logging
- :mod:`~lit_cnn.tasks.classification`: ``ImageClassifier``
- :mod:`~lit_cnn.tasks.restoration`: ``ImageRestorer``, image to image; :mod:`~lit_cnn.tasks.tiles`: its large images
- :mod:`~lit_cnn.tasks.kinds`: the tasks by the kind that data sets ask for
- :mod:`~lit_cnn.tasks.losses`, :mod:`~lit_cnn.tasks.metrics`, :mod:`~lit_cnn.tasks.mixup`, :mod:`~lit_cnn.tasks.tta`:
  its parts

Tasks never import data: :mod:`lit_cnn.utils.datamodule` types what they see of it.
"""
