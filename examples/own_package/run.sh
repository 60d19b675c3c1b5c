#!/usr/bin/env bash
# Train, test and use a model whose network, data set, loss and augmentation are my_package.py's. A minute on two cores.
# What is given to it goes to both commands.
set -euo pipefail
cd "$(dirname "$0")"
lit-cnn fit --config config.yaml --epochs 10 --allow_import my_package "$@"
lit-cnn test --ckpt_path best --allow_import my_package "$@"
