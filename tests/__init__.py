"""Tests of lit_cnn, by the folders of the package.

One thread for each process, set before torch is imported: the workers of a test run share the cores, and what they
start inherits it.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
