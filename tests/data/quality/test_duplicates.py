"""Near duplicates: edits of a photo are found, and different photos, flat and dark ones among them, are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from lit_cnn.data.quality import duplicates
from lit_cnn.data.quality.thumbnails import SIDE, correlation, grey

from ..helpers import pixels


def _photo(seed: int, size: int = 240) -> Image.Image:
    """Return a smooth random picture with detail, as photos have it."""
    coarse = pixels(seed, size, size + 40).astype(np.float32)
    middle = np.asarray(Image.fromarray(pixels(seed + 1000, 12, 14)).resize((size + 40, size)), np.float32)
    rng = np.random.default_rng(seed)
    fine = Image.fromarray(rng.integers(0, 256, (24, 28, 3), dtype=np.uint8)).resize((size + 40, size))
    return Image.fromarray(((coarse + middle + np.asarray(fine, np.float32)) / 3).astype(np.uint8))


def _encoded(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=40)
    return Image.open(io.BytesIO(content.getvalue()))


def _cropped(image: Image.Image) -> Image.Image:
    return image.crop((8, 12, image.width - 14, image.height - 6))


EDITS = {
    "encoded": _encoded,
    "halved": lambda image: image.resize((image.width // 2, image.height // 2)),
    "stretched": lambda image: image.resize((200, 100)),
    "cropped": _cropped,
    "mirrored": ImageOps.mirror,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "shifted": lambda image: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 5, 0, 1, 4)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_photo_is_found_among_others(edit: str) -> None:
    photos = [_photo(seed) for seed in range(30)]
    found, sure = duplicates.near_duplicates(np.stack([grey(p) for p in [*photos, EDITS[edit](photos[7])]]))
    assert found.tolist() == [[7, 30]]
    assert duplicates.VERIFIED < sure[0] <= 1.001


def test_flat_dark_and_graded_pictures_do_not_match_one_another() -> None:
    rng = np.random.default_rng(0)
    dark = [rng.integers(0, 4, (SIDE, SIDE)) for _ in range(10)]
    flat = [np.full((SIDE, SIDE), value) + rng.integers(-2, 3, (SIDE, SIDE)) for value in range(20, 220, 20)]
    ramp = np.linspace(40, 200, SIDE)[:, None] + np.zeros((SIDE, SIDE))
    skies = [ramp + rng.normal(0, 2, (SIDE, SIDE)) for _ in range(10)]  # the same layout, no detail in common
    thumbs = np.stack([*dark, *flat, *skies]).astype(np.uint8)
    assert duplicates.near_duplicates(thumbs)[0].tolist() == []


def test_pairs_in_different_blocks_are_found_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    thumbs = np.stack([grey(_photo(seed, 64)) for seed in (*range(12), 3, 0, 11)])
    whole = duplicates.near_duplicates(thumbs)[0].tolist()
    monkeypatch.setattr(duplicates, "_BLOCK", 4)
    assert duplicates.near_duplicates(thumbs)[0].tolist() == whole == [[0, 13], [3, 12], [11, 14]]


def test_the_mirrored_descriptor_is_that_of_the_mirror_image() -> None:
    thumbs = np.stack([grey(_photo(seed, 64)) for seed in range(5)])
    mirrored = duplicates.descriptors(thumbs)[1]
    np.testing.assert_allclose(mirrored, duplicates.descriptors(thumbs[:, :, ::-1])[0], atol=1e-5)


def test_no_images_and_one_image_have_no_duplicates() -> None:
    for count in (0, 1):
        pairs, sure = duplicates.near_duplicates(np.zeros((count, SIDE, SIDE), np.uint8))
        assert (pairs.shape, sure.shape) == ((0, 2), (0,))


def test_the_correlation_ignores_brightness_and_contrast_and_is_0_for_flat_pictures() -> None:
    thumb = grey(_photo(1, 64)).astype(np.float64)
    assert correlation(thumb, thumb * 0.5 + 20) == pytest.approx(1)
    assert correlation(thumb, 255 - thumb) == pytest.approx(-1)
    assert correlation(thumb, np.full_like(thumb, 7)) == 0
