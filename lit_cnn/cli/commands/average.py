"""``lit-cnn average CKPT CKPT …``: average the weights of checkpoints into one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_cnn.cli.command_parser import CommandParser

EPILOG = """\
Batch-norm statistics are averaged too. The file can be tested, predict and be
--model.weights of another run; it cannot be resumed.

example:
  lit-cnn fit photos --name flowers --checkpoint.save_top_k -1
  lit-cnn average lightning_logs/flowers/checkpoints/epoch{7,8,9}.ckpt \\
    -o lightning_logs/flowers/averaged.ckpt
  lit-cnn test --ckpt_path lightning_logs/flowers/averaged.ckpt
"""


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``.

    Raises:
        UserError: the checkpoints cannot be averaged, or the file cannot be written.
    """
    parser = CommandParser(
        prog="lit-cnn average",
        description="Average the weights of checkpoints of one network into one file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CKPT", help="two or more checkpoints")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the file to write")
    arguments = parser.parse_args(words[1:])
    from lit_cnn.checkpoint.averaging import average_checkpoints  # torch is slow to import, --help is not

    steps = average_checkpoints([path.expanduser() for path in arguments.checkpoints], arguments.output.expanduser())
    print(f"average of {len(steps)} checkpoints (steps {', '.join(map(str, steps))}): {arguments.output}")
