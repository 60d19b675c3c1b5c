"""Start-up time of commands: ``python -m benchmarks.startup``.

Each in a separate process, taking turns: ``lit-cnn --help``; importing torch and lightning and nothing else; from the
start of ``lit-cnn fit`` on the digits to the end of its first training step.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.turns import table, timed, write

OURS, REFERENCE = "lit-cnn fit, to its first step", "import torch, lightning"
FIRST_STEP = [
    "fit", "--data=Digits", "--model.backbone=lenet_maxpool", "--trainer.max_steps=1", "--device=cpu",
    "--trainer.limit_val_batches=0", "--trainer.enable_checkpointing=false", "--trainer.logger=false",
]  # fmt: skip
COMMANDS = {
    "lit-cnn --help": ["-m", "lit_cnn", "--help"],
    REFERENCE: ["-c", "import torch, lightning.pytorch"],
    OURS: ["-m", "lit_cnn", *FIRST_STEP],
}


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn, after one warm-up (5)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write settings and results to this file as well")
    given = parser.parse_args(args)
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(given.rounds + 1):
        for name, words in COMMANDS.items():
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, *words]
                if name == OURS:
                    command.append(f"--trainer.default_root_dir={folder}")
                took = timed(lambda command=command: subprocess.run(command, check=True, capture_output=True))
            if turn:  # files are in the system's cache from then on
                seconds[name].append(took)
    write(given.json, table(seconds, 1, OURS, REFERENCE))


if __name__ == "__main__":
    main()
