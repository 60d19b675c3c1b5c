"""``lit-cnn serve --ckpt_path best``: a page and a JSON API that answer as ``lit-cnn predict`` does."""

from __future__ import annotations

import argparse
import os
import re

from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.flag_values import import_names, whole_number
from lit_cnn.errors import UserError
from lit_cnn.utils.files import expand_home

HOST, PORT = "127.0.0.1", 8000
TOKEN_VARIABLE = "LIT_CNN_TOKEN"
RATE = 10.0  # images a second and client, where other machines reach the server
DEVICES = ("auto", "cpu", "gpu")
NUMBERS = {  # flag: default, unit, help
    "--batch-size": (16, "images", "answered together at most; 1: one at a time"),
    "--max-upload": (20, "megabytes", "MB of an image file"),
    "--max-pixels": (50_000_000, "pixels", "of an image, checked before it is decoded"),
    "--max-waiting": (32, "images", "images at the same time; more get status 503"),
}
FLAGS = ("--host", "--port", "--token", *NUMBERS, "--rate-limit", "--allow_import")
EPILOG = f"""\
The page takes a picture by drop, file or phone camera. The API is described at
/docs; curl sends an image:
  curl -F image=@rose.jpg http://{HOST}:{PORT}/api/predict

Only programs on this machine reach it. With --host 0.0.0.0 others do, and each
request needs the token:
  export {TOKEN_VARIABLE}=$(openssl rand -hex 16)
  lit-cnn serve --ckpt_path best --host 0.0.0.0
  curl -F image=@rose.jpg -H "Authorization: Bearer ${TOKEN_VARIABLE}" ...

Ctrl-C or SIGTERM ends it when the requests that have begun are answered.

examples:
  lit-cnn serve --ckpt_path best
  lit-cnn serve --ckpt_path flowers --port 9000
  lit-cnn serve --ckpt_path lightning_logs/flowers/export/best.onnx
"""


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``.

    Raises:
        UserError: there is no such checkpoint or file, it has no classes, a package is missing, the port is in use, or
            other machines would reach the server without a token.
    """
    own = _parser().parse_args(words[1:])
    token = own.token if own.token is not None else os.environ.get(TOKEN_VARIABLE, "")
    if own.token is not None or token:
        _check_token(token)
    from lit_cnn.serve.limits import Limits, is_loopback

    local = is_loopback(own.host)
    if not local and not token:
        raise UserError(
            f"--host {own.host} lets other machines reach the server: give them a --token, or set {TOKEN_VARIABLE}"
        )
    if own.data_dir is not None and not own.nearest:
        raise UserError("--data-dir is where training pictures are, which --nearest shows: add it")
    rate = own.rate_limit if own.rate_limit is not None else 0.0 if local else RATE
    limits = Limits(token, own.max_upload * 1_000_000, rate, own.max_waiting, own.batch_size)
    from lit_cnn import plugins  # torch is slow to import, --help is not
    from lit_cnn.cli.serve_run import Options, serve_run
    from lit_cnn.utils.lightning_internals import silence_lightning

    silence_lightning()
    allowed = [name for names in own.allow_import for name in import_names(names)]
    plugins.import_plugins(allowed)
    data_dir = None if own.data_dir is None else os.fspath(expand_home(own.data_dir))
    options = Options(own.host, own.port, own.max_pixels, own.device, allowed, own.nearest, data_dir)
    serve_run(own.ckpt_path, limits, options)


def _check_token(token: str) -> None:
    from lit_cnn.serve.limits import LEAST_TOKEN

    if not re.fullmatch(rf"[!-~]{{{LEAST_TOKEN},}}", token):
        raise UserError(
            f"--token must have at least {LEAST_TOKEN} letters, digits or signs and no space, such as what "
            "openssl rand -hex 16 prints"
        )


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise UserError(f"--port {text}: expected a number up to 65535; 0: any that is free")
    return int(text)


def _rate(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise UserError(f"--rate-limit {text}: expected images a second, such as 5 or 0.5; 0: any number")
    return float(text)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="lit-cnn serve",
        description="Serve a page and a JSON API that classify pictures as lit-cnn predict does.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--ckpt_path", "--ckpt-path", default="best", metavar="CKPT",
        help="checkpoint, run, best (the default), or an exported file",
    )  # fmt: skip
    parser.add_argument("--host", default=HOST, help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=PORT, help="(%(default)s); 0: any that is free")
    parser.add_argument("--token", help=f"that requests must bear; better in {TOKEN_VARIABLE}, which ps does not show")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    for flag, (default, unit, text) in NUMBERS.items():
        parser.add_argument(
            flag, flag[:2] + flag[2:].replace("-", "_"), type=whole_number(flag, unit), default=default, metavar="N",
            help=f"{text} ({default:,})",
        )  # fmt: skip
    parser.add_argument(
        "--rate-limit", "--rate_limit", type=_rate, metavar="N",
        help=f"images a second and client, 0: any number; none for this machine alone, else {RATE:g}",
    )  # fmt: skip
    parser.add_argument(
        "--nearest", action="store_true",
        help="show the nearest training pictures to whoever uses the page; up to 1,000 are read now",
    )  # fmt: skip
    parser.add_argument("--data-dir", "--data_dir", metavar="DIR", help="where the training pictures are now")
    parser.add_argument(
        "--allow_import", action="append", default=[], metavar="PKG",
        help="package, or module of this folder, that registers models of your own",
    )  # fmt: skip
    return parser
