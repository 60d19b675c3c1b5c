"""``python -m lit_cnn`` is ``lit-cnn``."""

from lit_cnn.cli.main import main

if __name__ == "__main__":  # a setting that names this module imports it
    main()
