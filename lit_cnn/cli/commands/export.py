"""``lit-cnn export --ckpt_path best --format onnx``: a file that provably gives the answers that were tested."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.flag_values import import_names
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say
from lit_cnn.utils.files import expand_home

FORMATS = ("onnx", "openvino", "torch_export", "torchscript")
FOLDERS = ("safetensors", "timm")  # weights and a description
INPUTS = ("decoded", "resized")
EPILOG = """\
The file takes uint8 images (N, height, width, channels), as NumPy has them of
Pillow, and gives probabilities (N, classes): preprocessing, softmax, temperature
and test-time augmentation are inside.

Before it gets its name, it answers the run's validation images. If a probability
differs from the checkpoint's by more than 0.0001, or an answer that hangs on
more than that, it is refused and no file is left.

examples:
  lit-cnn export --ckpt_path best
  lit-cnn export --ckpt_path flowers --format onnx --out models
  lit-cnn export --ckpt_path flowers --int8
  lit-cnn export --ckpt_path flowers --format timm
"""


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``.

    Raises:
        UserError: there is no such checkpoint, its images cannot be read, a package is missing, the network cannot be
            exported, the file's answers are not the checkpoint's, or it cannot be written.
    """
    own = _parser().parse_args(words[1:])
    if own.max_images < 0:
        raise UserError(f"--max-images must be 0 (all) or more, got {own.max_images}")
    if own.format in FOLDERS and (own.int8 or own.input):
        raise UserError(f"--{'int8' if own.int8 else 'input'} has no effect on --format {own.format}: leave it out")
    if own.license is not None and own.format not in FOLDERS:
        raise UserError("--license is for the model card of --format timm and safetensors: leave it out")
    if own.push is not None:
        if own.format not in FOLDERS:
            raise UserError("--push uploads what --format timm and safetensors write: add one of them")
        from lit_cnn.export.push import check_push

        check_push(own.push)
    from lit_cnn import plugins  # torch is slow to import, --help is not
    from lit_cnn.cli.checkpoint_argument import open_checkpoint
    from lit_cnn.cli.export_run import Options, export_run
    from lit_cnn.utils.lightning_internals import silence_lightning

    silence_lightning()
    allowed = [name for names in own.allow_import for name in import_names(names)]
    plugins.import_plugins(allowed)
    record = open_checkpoint(own.ckpt_path, allowed)
    folder = None if own.out is None else Path(expand_home(own.out))
    data_dir = None if own.data_dir is None else os.fspath(expand_home(own.data_dir))
    if own.format in FOLDERS:
        from lit_cnn.cli.export_folder_run import export_folder_run

        written = export_folder_run(record, own.format, folder, own.max_images, data_dir, allowed, own.license)
        if own.push is not None:
            from lit_cnn.export.push import push

            say(f"pushed: {push(written, own.push)}")
        return
    export_run(record, Options(own.format, folder, own.input, own.max_images, data_dir, allowed, own.int8))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="lit-cnn export",
        description="Write a trained network to a file for other programs, and prove that it answers the same.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--ckpt_path", "--ckpt-path", default="best", metavar="CKPT", help="checkpoint, run, or best (the default)"
    )
    parser.add_argument("--format", choices=(*FORMATS, *FOLDERS), default="onnx", help="%(default)s by default")
    parser.add_argument("--out", "--out-dir", "--out_dir", metavar="DIR", help="by default export in the run's folder")
    parser.add_argument(
        "--input", choices=INPUTS,
        help="decoded: images of any size, resized and cropped in the file (the default of runs on image files); "
        "resized: images of the network's size",
    )  # fmt: skip
    parser.add_argument(
        "--max-images", "--max_images", type=int, default=2000, metavar="N",
        help="validation images of the proof, evenly spaced (2000); 0: all",
    )  # fmt: skip
    parser.add_argument(
        "--int8", action="store_true",
        help="quantize an ONNX file, calibrated on training images; its accuracy drop, size and speed are stated",
    )  # fmt: skip
    parser.add_argument(
        "--license", metavar="ID",
        help="of the model card that timm and safetensors write, such as mit; unknown by default",
    )  # fmt: skip
    parser.add_argument(
        "--push", metavar="OWNER/NAME",
        help="upload the folder to the Hugging Face Hub; a new repository is private",
    )  # fmt: skip
    parser.add_argument("--data-dir", "--data_dir", metavar="DIR", help="where the run's images are now")
    parser.add_argument(
        "--allow_import", action="append", default=[], metavar="PKG",
        help="package, or module of this folder, that registers models of your own",
    )  # fmt: skip
    return parser
