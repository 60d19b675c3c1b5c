"""Resolve settings that are ``auto`` before a run is built.

Each of :mod:`~lit_cnn.tuner.precision`, :mod:`~lit_cnn.tuner.batch_size` and :mod:`~lit_cnn.tuner.lr_finder` has
``resolve(config, record)``, which replaces ``auto`` in a parsed configuration: by the checkpoint's value where there is
one, else by a search (:mod:`~lit_cnn.tuner.trial`) on rank zero that :mod:`~lit_cnn.tuner.auto` shares with the others.
"""
