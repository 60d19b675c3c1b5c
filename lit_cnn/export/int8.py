"""Weights and activations of 8 bits: onnxruntime's static quantization, calibrated on training images."""

from __future__ import annotations

import contextlib
import importlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from lit_cnn.results.scores import Score

CALIBRATION_IMAGES = 128
_LAYERS = ["Conv", "Gemm"]  # what is quantized; the resizing is a MatMul, in float64, and stays exact
_Z = 1.959963984540054  # of 95%


class _Reader:
    """Images for the calibration, as onnxruntime asks for them."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._images: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"image": np.ascontiguousarray(image[None])}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # it advises a step that torch's exporter has done
    try:
        yield
    finally:
        root.setLevel(before)


def quantize(source: Path, target: Path, images: Iterable[np.ndarray]) -> None:
    """Write the ONNX file ``source`` with 8-bit convolutions and dense layers (QDQ format) to ``target``.

    Weights have a scale for each filter, activations one for each tensor, from their smallest to their largest value
    over the calibration images.

    Args:
        source: a file of ``onnx_format``.
        target: the new file.
        images: for the calibration, uint8 (H, W, C) each.
    """
    quantization = importlib.import_module("onnxruntime.quantization")
    with _quiet():
        quantization.quantize_static(
            str(source),
            str(target),
            _Reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=_LAYERS,
        )


def accuracy_drop(lost: int, gained: int, images: int) -> Score:
    """By how much the share of right answers falls, with a 95% interval for paired answers.

    Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37: Wald's interval after one image is
    added to each kind of change, which has a width even where nothing changed.

    Args:
        lost: images that were answered rightly before only.
        gained: images that are answered rightly now only.
        images: all of them.
    """
    first, second = (lost + 1) / (images + 2), (gained + 1) / (images + 2)
    half = _Z * float(np.sqrt((first + second - (first - second) ** 2) / (images + 2)))
    return Score((lost - gained) / images, first - second - half, first - second + half)


def milliseconds(
    runners: list[Callable[[np.ndarray], np.ndarray]], images: list[np.ndarray], turns: int = 5
) -> list[float]:
    """Median time of each runner for one image, given alone; they take turns."""
    times: list[list[float]] = [[] for _ in runners]
    for turn in range(turns + 1):  # the first one only warms up
        for each, runner in zip(times, runners, strict=True):
            began = time.perf_counter()
            for image in images:
                runner(image[None])
            if turn:
                each.append(1000 * (time.perf_counter() - began) / len(images))
    return [float(np.median(each)) for each in times]
