"""lit-cnn: train, test and resume convolutional image models from the command line."""

__version__ = "0.1.0"
