"""Layers and weight initialisation that the networks of ``lit_cnn.models`` share. Pure torch.

``init`` (schemes by name), ``dense`` (classifier heads), ``whitening`` (a first layer computed from the data).
``reference/`` has convolution, pooling and up-sampling written out, for reading and as a check of torch's.
"""
