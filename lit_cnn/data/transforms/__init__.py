"""Augmentation on the device: counter-based random numbers, image operations, transforms of the user."""
