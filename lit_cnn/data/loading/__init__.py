"""Batch loader with an exactly resumable order, and the number of its decoding threads."""
