"""``python -m lit_cnn`` is ``lit-cnn``."""

from lit_cnn.cli import main

main()
