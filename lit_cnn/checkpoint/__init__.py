"""Checkpoints, and how an exact resume works.

A resumed run ends with the bits of one that was never stopped. This room holds what that takes:

* :mod:`~lit_cnn.checkpoint.record`: what a checkpoint says about itself under the key ``lit_cnn`` (settings, class
  names, preprocessing, split, resume key), and reading it with ``weights_only=True``;
* :mod:`~lit_cnn.checkpoint.io`: writing files that are complete or not there;
* :mod:`~lit_cnn.checkpoint.find`: the newest valid checkpoint of a run;
* :mod:`~lit_cnn.checkpoint.compatibility`: the resume key, which refuses another batch size, seed, data or world size;
* :mod:`~lit_cnn.checkpoint.progress`: the points of an epoch from which a resume is exact;
* :mod:`~lit_cnn.checkpoint.snapshot`: undoing a step that failed, so that the state before it can be saved;
* :mod:`~lit_cnn.checkpoint.interval`: how often to save;
* :mod:`~lit_cnn.checkpoint.diff`: comparing two states bit for bit.

State has four owners, and each restores its own:

1. **Lightning** saves weights, optimizer, learning-rate schedule, callbacks and loop counters.
2. **The loader** (:mod:`lit_cnn.data.loading.loader`) saves nothing random: the order of an epoch and every
   augmentation are pure functions of seed, epoch and sample index. It starts at the batch that the loop counters name.
3. **The task** (:mod:`lit_cnn.tasks.base`) saves the running means of a half epoch (``train_means``), reseeds dropout
   and mixing at each step from (seed, epoch, batch, rank), and lets the optimizer settings of the resumed run win over
   the stored ones.
4. **The CSV logger** (:mod:`lit_cnn.callbacks.csv_logger`) drops the rows past the checkpoint.

:class:`~lit_cnn.callbacks.last_checkpoint.LastCheckpoint` decides when to save, and
:class:`~lit_cnn.callbacks.run_metadata.RunMetadata` writes the record and refuses a resume that would be inexact.

Checkpoint keys beside Lightning's own: ``lit_cnn`` (the record), ``train_means``.
"""
