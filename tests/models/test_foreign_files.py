"""Files that are no weights of PyTorch are named."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from lit_cnn.errors import UserError
from lit_cnn.models._weight_files import read_tensors

STATE = {"a.weight": torch.arange(5000.0), "b": torch.ones(2)}


def damaged(ending: str, share: float) -> Callable[[Path], None]:
    """Write weights and leave a share of the file."""

    def write(path: Path) -> None:
        if ending == "safetensors":
            safetensors.torch.save_file(STATE, path)
        else:
            torch.save(STATE, path, _use_new_zipfile_serialization=ending == "zip")
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return write


def zipped(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")

    return write


def tar(path: Path) -> None:
    (path.parent / "inside").write_text("x")
    with tarfile.open(path, "w") as archive:
        archive.add(path.parent / "inside")


def script(path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(path))


def save_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.pth": (lambda p: p.touch(), "is empty: copy or download"),
    "lfs.pth": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n"),
        "Git LFS",
    ),
    "page.pth": (lambda p: p.write_text("\n<!DOCTYPE html><html>"), "is a web page"),
    "page2.safetensors": (lambda p: p.write_text("<html>"), "is a web page"),
    "denied.pth": (lambda p: p.write_text('<?xml version="1.0"?><Error>'), "is a web page"),
    "text.pth": (lambda p: p.write_text("404: Not Found"), "is a text, not a weights file: '404: Not Found'"),
    "model.safetensors.index.json": (
        lambda p: p.write_text(json.dumps({"weight_map": {"a": "b"}})),
        "an index of several",
    ),
    "a.npz": (lambda p: np.savez(p, a=np.ones(2)), "is a NumPy archive"),
    "a.npy": (save_npy, "is a NumPy array"),
    "m.h5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n\0\0"), "is an HDF5 file"),
    "m.keras": (zipped("config.json", "model.weights.h5"), "is a Keras model"),
    "m.tflite": (lambda p: p.write_bytes(b"\x1c\0\0\0TFL3\0\0"), "is a TensorFlow Lite model"),
    "m.onnx": (lambda p: p.write_bytes(b"\x08\x07\x12\x07pytorch\xff\0"), "is an ONNX model"),
    "m.pb": (lambda p: p.write_bytes(b"\x08\x01\x12\xff\0"), "is a TensorFlow model"),
    "m.ckpt.data-00000-of-00001": (lambda p: p.write_bytes(b"\xff\0\1"), "is a TensorFlow checkpoint"),
    "m.gguf": (lambda p: p.write_bytes(b"GGUF\3\0\0\0"), "is a GGUF file"),
    "m.pkl": (
        lambda p: p.write_bytes(b"\x80\x04\x95\x05\0\0\0\0\0\0\0]\x94."),
        "is a pickle that torch.save did not write",
    ),
    "m.pdparams": (lambda p: p.write_bytes(b"\x80\x04\x95\x05\0\0"), "is a PaddlePaddle model"),
    "m.tar.gz": (lambda p: p.write_bytes(gzip.compress(b"x")), "is compressed: unpack it"),
    "m.tar": (tar, "is compressed: unpack it"),
    "m.zip": (zipped("weights.pth"), "is a zip archive with weights.pth in it"),
    "picture.pth": (lambda p: Image.new("L", (3, 3)).save(p, "PNG"), "is an image"),
    "script.pt": (script, "is a TorchScript archive"),
    "noise.pth": (lambda p: p.write_bytes(b"\xff\x01\x02\x00" * 9), "no weights file that PyTorch can read"),
    "noise.safetensors": (lambda p: p.write_bytes(b"\xff\x01\x02\x00" * 9), "no weights file that PyTorch can read"),
    "cut.pth": (damaged("zip", 0.9), "is truncated or damaged"),
    "cut at its start.pth": (damaged("zip", 0.01), "is truncated or damaged"),
    "cut and old.pth": (damaged("legacy", 0.9), "is truncated or damaged"),
    "cut and very old.pth": (damaged("legacy", 0.01), "is truncated or damaged"),
    "cut.safetensors": (damaged("safetensors", 0.9), "is truncated or damaged"),
    "header.safetensors": (damaged("safetensors", 0.003), "is truncated or damaged"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_holds_no_weights_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write, message = FILES[name]
    write(path)
    with pytest.raises(UserError) as error:
        read_tensors(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path} ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 140 + len(str(path))


def test_a_missing_file_a_folder_and_a_web_address_are_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    safetensors.torch.save_file(STATE, tmp_path / "model.safetensors")
    for path, message in {
        tmp_path / "none.pth": "no weights file at .*none.pth$",
        Path("imagenet1k"): "no weights file at imagenet1k; the word for published weights is imagenet",
        tmp_path: "it is a folder: give a file in it, such as model.safetensors",
        tmp_path / "empty": "it is a folder, and holds no weights file",
        Path("https://example.org/w.pth"): "is a web address: download the file first",
    }.items():
        with pytest.raises(UserError, match=message):
            read_tensors(path)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.bin", "w.th", "w.tar", "w"])
def test_content_and_not_the_name_decides_how_a_file_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    writers: list[Callable[[], object]] = [
        lambda: safetensors.torch.save_file(STATE, path),
        lambda: torch.save(STATE, path),
        lambda: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    ]
    for write in writers:
        write()
        found = read_tensors(path)
        assert found.keys() == STATE.keys()
        assert all(torch.equal(found[key], tensor) for key, tensor in STATE.items())
