"""Report an out-of-memory error as one line with the flags to try."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from lit_cnn.errors import UserError
from lit_cnn.utils.batching import default_eval_batch_size
from lit_cnn.utils.memory import format_bytes
from lit_cnn.utils.oom import is_out_of_memory

HALF_PRECISIONS = ("16", "bf16", "16-mixed", "bf16-mixed", "16-true", "bf16-true")


@contextlib.contextmanager
def report_out_of_memory(command: str, config: Any, resumes: bool) -> Iterator[None]:
    """Turn a failed allocation into one line with the batch size and what to try.

    Args:
        command: fit, validate, test or predict.
        config: its parsed settings.
        resumes: whether training resumes from a checkpoint.

    Raises:
        UserError: instead of the out-of-memory error.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        batch = _batch_size(command, config)
        requested = _requested(str(error))
        images = f"batches of {batch} image{'s' if batch > 1 else ''}"
        what = f"out of memory in {command} with {images}{f' ({requested})' if requested else ''}"
        raise UserError(f"{what}: try {', or '.join(_remedies(command, config, resumes))}") from error


def _batch_size(command: str, config: Any) -> int:
    """Images per batch; in an evaluation, the most that the data module puts into one."""
    data = config.data.init_args
    return int(
        data.batch_size if command == "fit" else data.eval_batch_size or default_eval_batch_size(data.batch_size)
    )


def _remedies(command: str, config: Any, resumes: bool) -> list[str]:
    batch, trainer = _batch_size(command, config), config.trainer
    remedies = []
    if batch > 1 and command == "fit":
        steps = 2 * trainer.accumulate_grad_batches
        remedies.append(
            f"--batch-size {batch // 2} --trainer.accumulate_grad_batches {steps}{' --resume_anyway' * resumes} "
            f"({'' if batch % 2 == 0 else 'about '}as many images per optimizer step)"
        )
        if not resumes:
            remedies.append("--data.batch_size auto (the largest that fits)")
    elif batch > 1:
        remedies.append(f"--batch-size {batch // 2}")
    if command == "fit" and not resumes and str(trainer.precision) not in HALF_PRECISIONS:
        remedies.append("--amp (bfloat16: about half the memory)")
    if batch == 1:
        remedies.append("a smaller --img-size, or a smaller --model.backbone")
    return remedies


def _requested(message: str) -> str:
    """How much the failed allocation asked for, where the error says so."""
    if found := re.search(r"ried to allocate ([\d.]+ ?[KMGT]i?B)", message):
        return f"{found[1]} more were requested"
    if found := re.search(r"ried to allocate (\d+) bytes", message):
        return f"{format_bytes(int(found[1]))} more were requested"
    return ""
