"""A file of any format whose mean was altered after its proof is refused by ``validate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lit_cnn.checkpoint.record import read_record
from lit_cnn.cli.main import main
from lit_cnn.export.formats import FORMATS
from tests.cli.helpers import QUIET

CHANGE = 30.0  # of 255
METADATA = "metadata.json"


def alter_onnx(path: Path, shift: np.float32) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(path))
    (found,) = (c for c in model.graph.initializer if onnx.numpy_helper.to_array(c).ravel().tolist() == [shift])
    found.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(found) + np.float32(CHANGE), found.name))
    onnx.save(model, str(path))


def alter_openvino(path: Path, shift: np.float32) -> None:
    weights = path.with_suffix(".bin")
    content = weights.read_bytes()
    (sign,) = (sign for sign in (1, -1) if (sign * shift).tobytes() in content)  # converted, it may be added
    weights.write_bytes(content.replace((sign * shift).tobytes(), (sign * (shift + np.float32(CHANGE))).tobytes()))


def alter_torch_export(path: Path, shift: np.float32) -> None:
    extra: dict[str, Any] = {METADATA: ""}
    program = torch.export.load(path, extra_files=extra)
    assert float(program.state_dict["shift"]) == shift
    program.state_dict["shift"] += CHANGE
    torch.export.save(program, path, extra_files=extra)


def alter_torchscript(path: Path, shift: np.float32) -> None:
    extra: dict[str, Any] = {METADATA: ""}
    module = torch.jit.load(str(path), _extra_files=extra)
    assert float(module.shift) == shift
    module.shift.add_(CHANGE)
    torch.jit.save(module, str(path), _extra_files=extra)


ALTER: dict[str, Callable[[Path, np.float32], None]] = {
    "onnx": alter_onnx,
    "openvino": alter_openvino,
    "torch_export": alter_torch_export,
    "torchscript": alter_torchscript,
}


def test_every_format_is_tried():
    assert ALTER.keys() == FORMATS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALTER)
def test_a_mean_altered_in_the_file_is_found(trained, workdir, capsys, fails, name):
    if name in ("onnx", "openvino"):
        pytest.importorskip("onnxruntime" if name == "onnx" else name)
    checkpoint = trained / "checkpoints" / "best.ckpt"
    main(["export", f"--ckpt_path={checkpoint}", f"--format={name}", "--out=models", "--max-images=40"])
    file = workdir / "models" / f"best{FORMATS[name].suffix}"
    main(["validate", f"--ckpt_path={file}", QUIET])
    assert "proof repeated on 40 images" in capsys.readouterr().out
    ALTER[name](file, (255 * torch.tensor(read_record(checkpoint).preprocessing["mean"])).numpy()[0])
    line = fails("validate", f"--ckpt_path={file}", QUIET)
    assert f"best{FORMATS[name].suffix} is not the file that was proven: of 40 validation images" in line
