"""Entry point: ``lit-cnn``, ``python -m lit_cnn`` and the tests call :func:`main`.

Only the standard library is imported here: torch and lightning cost seconds, which ``--help``, ``--version`` and
mistyped commands need not wait for.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import sys
from collections.abc import Iterator, Sequence

from lit_cnn import __version__
from lit_cnn.cli import argv
from lit_cnn.cli.errors import as_flags, report_errors
from lit_cnn.utils.console import spell_settings_by
from lit_cnn.utils.signals import handle_sigterm

HELP = """\
lit-cnn trains, tests and resumes convolutional image models.

  lit-cnn fit --config configs/lenet_digits.yaml       train (any setting can follow, see below)
  lit-cnn fit --resume                                 go on with the newest run where it stopped
  lit-cnn test --ckpt_path best                        measure the newest run's best checkpoint
  lit-cnn predict --ckpt_path best photo.jpg folder/   name what is in your own pictures
  lit-cnn models 'resnet*'                             list backbones

Other commands: validate (as test, on the validation images), inspect MODEL (shapes, parameters, receptive fields),
prepare --data NAME --data-dir DIR (fetch the images, look at every one, list those that cannot be read;
with --shards OUT [--shard_mb N], write them as a few large files for --data Stream --data-dir OUT);
train and val are other words for fit and validate.

Settings people change most:
  --config FILE          a YAML file; configs/ has one for each experiment
  --data NAME            CIFAR10, MNIST, FashionMNIST, Digits, Flowers, Vehicles, ImageFolder, Stream
  --data-dir DIR         where the images are
  --model.backbone NAME  which network
  --epochs N  --batch-size N (-b)  --lr X  --seed N  --workers N (-j)
                         all but epochs and seed may be auto: found by trying, before training starts
  --device cpu|cuda|cuda:1|0,1     --amp (bf16)     --precision auto
  --ckpt_path PATH       a checkpoint, a run folder, or best / last of the newest run
  --resume [PATH|auto]   go on with a run; auto starts one where there is none
  --resume_anyway        also with another batch size, seed, number of processes or other images: not exactly then
  --checkpoint_every N   how often to save: 500 (steps), 5m (minutes), 10epochs
  --verify_resume [N]    try N steps with and without being killed, and compare every bit
  --skip_nonfinite_steps N  leave out up to N steps whose loss is NaN or infinite, instead of stopping
  --deterministic        the same bits on GPUs too

lit-cnn fit --help lists the settings of trainer and model, lit-cnn fit --data.help CIFAR10 those of a data set.
Settings name classes of lit_cnn, torch.optim, torchvision, timm and Lightning's callbacks, loggers and plugins only;
--allow_import PKG adds your own package (or module of this folder).
--print_config prints the resolved settings and stops.
--debug shows the traceback behind an error.  --version prints the version.
"""


def main(args: Sequence[str] | None = None) -> None:
    """Run one command.

    Args:
        args: words of the command line without the program's name; ``None`` takes them from ``sys.argv``.

    Raises:
        SystemExit: with 2 after a user's mistake, 1 after a crash, 130 after Ctrl-C, 143 after SIGTERM. Success
            returns.
    """
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    if words[0] in ("--version", "-V"):
        print(f"lit-cnn {__version__}")
        return
    if sys.__stderr__ is not None and not faulthandler.is_enabled():
        faulthandler.enable(
            sys.__stderr__, all_threads=False
        )  # with lit_cnn.data.decoding.crash_report, names a file that kills
    spell_settings_by(as_flags)
    with handle_sigterm(), report_errors(debug):
        _dispatch(words, debug)


def _dispatch(words: list[str], debug: bool) -> None:
    command = argv.COMMAND_ALIASES.get(words[0], words[0])
    if command == "models":
        with _no_garbage_collection():
            from lit_cnn.cli.commands.models import main as list_models

            list_models(words[1:])
    elif command == "inspect":
        from lit_cnn.cli.commands.inspect import main as inspect

        inspect(words[1:])
    elif command == "prepare":
        parsed = argv.parse(words)
        with _no_garbage_collection():
            from lit_cnn.cli.commands import prepare

        prepare.run(parsed)
    else:
        parsed = argv.parse(words)
        if parsed.verify_resume is not None:
            from lit_cnn.cli.commands.verify_resume import verify_resume

            verify_resume(argv.without_verify(words), parsed, parsed.verify_resume)
            return
        with _no_garbage_collection():
            from lit_cnn.cli import lightning_cli

        lightning_cli.run(parsed, debug)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Importing torch and the like makes objects that stay: looking for garbage among them costs half a second."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


if __name__ == "__main__":
    main()
