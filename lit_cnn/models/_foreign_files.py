"""Say what a file is that is no weights file of PyTorch or safetensors."""

from __future__ import annotations

import zipfile
from pathlib import Path

from lit_cnn.models._safe_load import LEGACY

ZIP = b"PK\x03\x04"
BEGINNING = 4096  # bytes that are looked at
# Beginnings of files: position, bytes, what it is.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n", "an HDF5 file, as Keras writes"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"%PDF", "a PDF document"),
    *((0, start, "an image") for start in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")),
)
_PACKED = (
    (257, b"ustar"), (0, b"\x1f\x8b"), (0, b"BZh"), (0, b"\xfd7zXZ"), (0, b"7z\xbc\xaf"), (0, b"Rar!"),
    (0, b"\x28\xb5\x2f\xfd"),
)  # fmt: skip
# Of formats without such bytes, the end of the name.
_NAMES = {
    ".onnx": "an ONNX model",
    ".pb": "a TensorFlow model",
    ".index": "a TensorFlow checkpoint",
    ".data-00000-of-00001": "a TensorFlow checkpoint",
    ".tflite": "a TensorFlow Lite model",
    ".h5": "a Keras model",
    ".mlmodel": "a Core ML model",
    ".params": "an MXNet model",
    ".caffemodel": "a Caffe model",
    ".weights": "a Darknet model",
    ".msgpack": "a Flax model",
    ".engine": "a TensorRT engine",
    ".pdparams": "a PaddlePaddle model",
}


def foreign_kind(path: Path, head: bytes) -> str:
    """What ``path`` is, with what to do about it; "" if it begins as a file of ``torch.save`` does.

    Args:
        path: the file.
        head: its first ``BEGINNING`` bytes.
    """
    other = next((kind for end, kind in _NAMES.items() if path.name.lower().endswith(end)), "")
    other = next((kind for at, start, kind in _MAGIC if head[at:].startswith(start)), other)
    if not head:
        return "empty: copy or download it again"
    if head.startswith(ZIP):
        return _zip_kind(path)
    if any(head[at:].startswith(start) for at, start in _PACKED):
        return "compressed: unpack it and give the file that was in it"
    if head.startswith(LEGACY):
        return ""
    if not other and (text := _text_kind(head)):
        return text
    if not other and head.startswith(b"\x80"):
        return "a pickle that torch.save did not write, which could run code: refused"
    return f"{other or 'no weights file that PyTorch can read, or damaged'}: give one of torch.save or safetensors"


def _text_kind(head: bytes) -> str:
    try:
        text = head[: BEGINNING - 4].decode().strip().lstrip("\ufeff")  # without a letter that is cut
    except UnicodeDecodeError:
        return ""
    if not text or "\0" in text:
        return ""
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer, not the file itself: run git lfs pull"
    if text.lower().startswith(("<!doctype", "<html", "<?xml")):
        return "a web page, not a weights file: download it again"
    if "weight_map" in text and text.startswith("{"):
        return "an index of several files: join their tensors in one file"
    return f"a text, not a weights file: {' '.join(text.split())[:40]!r}"


def _zip_kind(path: Path) -> str:
    """Kind of a zip archive, which ``torch.save``, TorchScript, NumPy and Keras write."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except zipfile.BadZipFile:
        return f"truncated or damaged ({path.stat().st_size:,} bytes): copy or download it again"
    if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
        return "a TorchScript archive: save the state dict of torch.jit.load(...) with torch.save"
    if any(name.endswith("data.pkl") for name in names):
        return ""
    if any(name.endswith((".weights.h5", "keras_metadata.pb")) for name in names):
        return "a Keras model: give a file of torch.save or safetensors"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive: save its arrays as tensors, under the network's names, with torch.save"
    if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
        return "a program of torch.export: save the state dict of torch.export.load(...) with torch.save"
    return f"a zip archive with {', '.join(names[:2]) or 'nothing'} in it: unpack it and give the weights file"
