"""Reference implementations of convolution, pooling and up-sampling, for teaching.

``loops`` has the definitions, one output value at a time; ``conv``, ``pool`` and ``upsample`` compute the same with
slices and matrix products, fast enough to train with, and equal torch's functions; ``window`` is what they share.
"""
