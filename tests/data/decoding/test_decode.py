"""Images are resized and cropped exactly as torchvision does it, and bad files are named."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torchvision import transforms
from torchvision.transforms import v2

from lit_cnn.data.decoding.decode import check_image, read_image
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform, crop_boxes
from lit_cnn.errors import UserError
from tests.data.decoding.helpers import SMALL, expected_pixels, rgb_image, save_image


@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (50, 50), (10, 12), (36, 36)])
@pytest.mark.parametrize("channels", [1, 3])
def test_center_crop_equals_torchvision_bit_for_bit(tmp_path: Path, height: int, width: int, channels: int) -> None:
    path = save_image(tmp_path / "a.png", rgb_image(0, height, width))
    image = Image.open(path).convert("RGB" if channels == 3 else "L")
    reference = transforms.Compose([transforms.Resize(36), transforms.CenterCrop(32), transforms.PILToTensor()])
    out = read_image(path, Geometry(32, channels, "center_crop", 32 / 36))
    assert np.array_equal(out, reference(image).numpy())


def test_stretch_equals_torchvision_bit_for_bit(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png", rgb_image(0, 45, 61))
    reference = transforms.Compose([transforms.Resize((32, 32)), transforms.PILToTensor()])
    out = read_image(path, Geometry(32, 3, "stretch"))
    assert np.array_equal(out, reference(Image.open(path)).numpy())


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_random_resized_crop_equals_torchvision_bit_for_bit_where_nothing_is_drafted(
    tmp_path: Path, suffix: str
) -> None:
    path = save_image(tmp_path / f"a{suffix}", rgb_image(0, 80, 90))
    whole = transforms.functional.pil_to_tensor(Image.open(path))
    draws = counter_uniform(1, 2, torch.arange(20), CROP_OPS)
    for i in range(20):
        box = crop_boxes(draws[:, i : i + 1], 80, 90, (0.1, 1), (0.75, 4 / 3))[0].tolist()
        out = read_image(path, Geometry(24, 3), draws[:, i], (0.1, 1), (0.75, 4 / 3))
        assert np.array_equal(out, v2.functional.resized_crop(whole, *box, [24, 24]).numpy())


@pytest.mark.parametrize("channels", [1, 3])
def test_draft_decoding_shows_the_same_crop_and_is_only_used_above_the_target_size(
    tmp_path: Path, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_image(tmp_path / "a.jpg", rgb_image(0, 531, 779), quality=95)
    drafted: list[tuple[int, int]] = []
    draft = JpegImageFile.draft

    def spy(self: JpegImageFile, *args: Any) -> object:
        result = draft(self, *args)
        drafted.append(self.size)
        return result

    monkeypatch.setattr(JpegImageFile, "draft", spy)
    draws = counter_uniform(3, 0, torch.arange(30), CROP_OPS)
    for i in range(30):
        top, left, height, width = crop_boxes(draws[:, i : i + 1], 531, 779, (0.05, 1), (0.75, 4 / 3))[0].tolist()
        drafted.clear()
        out = read_image(path, Geometry(48, channels), draws[:, i], (0.05, 1), (0.75, 4 / 3)).astype(int)
        image = Image.open(path).convert("RGB" if channels == 3 else "L")
        exact = image.resize((48, 48), Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
        exact_pixels = np.asarray(exact).astype(int)
        exact_pixels = exact_pixels[None] if channels == 1 else exact_pixels.transpose(2, 0, 1)
        assert np.abs(out - exact_pixels).mean() < 2  # of 255: another filter, the same place
        scale = 779 / drafted[0][0] if drafted else 1
        assert min(height, width) / scale >= 47.5
        assert bool(drafted) == (min(height, width) >= 192)


def test_evaluation_never_drafts(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.jpg", rgb_image(0, 400, 600), quality=95)
    assert np.array_equal(read_image(path, SMALL), expected_pixels(Image.open(path)))


def _png_bomb(path: Path, side: int = 60_000) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


def test_bad_files_are_named_with_the_reason_in_one_line(tmp_path: Path) -> None:
    good = save_image(tmp_path / "good.jpg", rgb_image())
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:400])
    (tmp_path / "half.jpg").write_bytes(good.read_bytes()[: good.stat().st_size * 2 // 3])
    png = save_image(tmp_path / "good.png", Image.effect_noise((40, 60), 50))
    (tmp_path / "half.png").write_bytes(png.read_bytes()[: png.stat().st_size // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    _png_bomb(tmp_path / "bomb.png")
    _png_bomb(tmp_path / "big.png", 10_000)
    reasons = {
        "cut.jpg": "truncated file read",
        "half.jpg": "truncated",
        "half.png": "truncated",
        "empty.png": "empty or no image",
        "text.jpg": "empty or no image",
        "script.png": "empty or no image",
        "bomb.png": "pixels",
        "big.png": "10000 x 10000 pixels",
        "missing.png": "no such file",
    }
    assert check_image(good, 10**6) == (None, True)
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=reason) as caught:
            read_image(tmp_path / name, SMALL)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "`data.on_bad_image=skip`" in str(caught.value)
        verdict, lasting = check_image(tmp_path / name, SMALL.max_pixels)
        assert verdict is not None
        assert reason in verdict
        assert lasting == (name != "missing.png")


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".jpg", {}),
        (".jpg", {"progressive": True}),
        (".png", {}),
        (".bmp", {}),
        (".gif", {}),
        (".webp", {}),
        (".tif", {}),
        (".tif", {"compression": "tiff_lzw"}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*(Truncated File Read|EXIF):UserWarning")
def test_a_file_truncated_anywhere_is_refused_or_shows_every_pixel(tmp_path: Path, suffix: str, options: dict) -> None:
    path, cut = tmp_path / f"a{suffix}", tmp_path / f"cut{suffix}"
    save_image(path, Image.effect_noise((40, 50), 60).convert("RGB"), **options)
    content, geometry = path.read_bytes(), Geometry(16, 3, "stretch")
    whole, crop = read_image(path, geometry), torch.zeros(len(CROP_OPS))
    cropped = read_image(path, geometry, crop)
    refused = 0
    ends = {*range(0, len(content), len(content) // 25), *range(len(content) - 12, len(content))}
    for end in ends:
        cut.write_bytes(content[:end])
        try:
            assert np.array_equal(read_image(cut, geometry), whole)
            assert np.array_equal(read_image(cut, geometry, crop), cropped)
        except UserError:
            refused += 1
    assert refused > len(ends) / 2


def test_the_pixel_limit_can_be_set(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png", rgb_image(0, 40, 60))
    with pytest.raises(UserError, match="60 x 40 pixels, more than 2,000"):
        read_image(path, Geometry(8, 3, max_pixels=2000))


def test_names_with_spaces_and_other_alphabets_are_read(tmp_path: Path) -> None:
    for name in ("Ромашка белая.png", "雏菊 (1).png", "d'été & co.png"):
        assert read_image(save_image(tmp_path / name, rgb_image()), SMALL).shape == (3, 16, 16)
