"""Reference implementations of convolution, pooling, up-sampling and batch normalisation, for teaching.

``loops`` has the definitions, one output value at a time; ``conv``, ``pool`` and ``upsample`` compute the same with
slices and matrix products, fast enough to train with, and equal torch's functions, as ``norm`` does; ``window`` is what
they share. Images may lack N, or N and C.
"""
