"""Images with their predicted classes written on them. Pillow only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageDraw

from lit_cnn.results.gallery import drawable

FOLDER = "images"
MOST_SIDE = 1024  # pixels; larger images are made smaller
_CHUNK = 64


def save_labelled_images(
    folder: Path, files: Sequence[str], texts: Sequence[str], load: Callable[[int], Image.Image], threads: int = 2
) -> int:
    """Write ``folder/000012_NAME.jpg`` for each image: itself, with a line of text on a dark band at its top.

    Args:
        folder: made if need be.
        files: N names of images.
        texts: N lines.
        load: gives the picture of a position; what it raises leaves the image out.
        threads: that work at the same time.

    Returns:
        Number of images written.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def save(i: int) -> bool:
        try:
            image = load(i).convert("RGB")
        except Exception:  # whatever a decoder raises for a file that has changed since
            return False
        image.thumbnail((MOST_SIDE, MOST_SIDE))
        write_on(image, texts[i]).save(folder / f"{i:06d}_{Path(files[i]).stem[:80]}.jpg", "JPEG", quality=90)
        return True

    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(files), _CHUNK):  # no more at a time than memory has room for
            done += sum(pool.map(save, range(start, min(start + _CHUNK, len(files)))))
    return done


def write_on(image: Image.Image, text: str) -> Image.Image:
    """The image, RGB, with a line of text on a band at its top; in place."""
    size = max(10, min(32, image.width // 16))
    shown, font = drawable(text, size)
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rectangle((0, 0, image.width, size + 8), fill=(0, 0, 0, 170))
    draw.text((5, 3), shown, fill="white", font=font)
    return image
