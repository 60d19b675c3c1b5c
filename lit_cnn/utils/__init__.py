"""Helpers that all rooms share: console, files, memory, random numbers, downloads, signals.

They import nothing of lit_cnn but :mod:`lit_cnn.errors` and each other.
"""
