"""Classify photos with an exported file, as ``lit-cnn predict`` does: onnxruntime, Pillow and NumPy alone.

python classify_onnx.py best.onnx rose.jpg tulip.jpg
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read(path: str, mode: str) -> np.ndarray:
    """An image file, upright and over white, as uint8 (1, height, width, channels); ``mode``: L or RGB."""
    with Path(path).open("rb") as file:  # given a path, Pillow 13 turns some TIFFs wrongly
        image = ImageOps.exif_transpose(Image.open(file))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image if image.mode in ("1", "L", "RGB") else image.convert("RGB")
    pixels = np.asarray(image.convert(mode))
    return pixels[None, :, :, None] if mode == "L" else pixels[None]


def main(model: str, *paths: str) -> None:
    """Print each image's class and its probability."""
    session = onnxruntime.InferenceSession(model)
    about = session.get_modelmeta().custom_metadata_map
    names = json.loads(about["names"])
    for path in paths:
        (probabilities,) = session.run(None, {"image": read(path, about["mode"])})
        best = int(probabilities[0].argmax())
        print(f"{path}\t{names[str(best)]}\t{probabilities[0, best]:.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
