"""Pictures of every kind become what the model expects, exactly as torchvision does it, and bad ones are named."""

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

from lit_cnn.data.decoding import formats
from lit_cnn.data.decoding.decode import Geometry, check_image, read_image
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform, crop_boxes
from lit_cnn.errors import UserError
from tests.data.helpers import pixels

SMALL = Geometry(size=16, channels=3, eval_resize="stretch")


def _save(path: Path, image: Image.Image, **kwargs: object) -> Path:
    image.save(path, **kwargs)
    return path


def _rgb(seed: int = 0, height: int = 40, width: int = 60) -> Image.Image:
    return Image.fromarray(pixels(seed, height, width))


def _expected(image: Image.Image, channels: int = 3, size: int = 16) -> np.ndarray:
    image = image.convert("RGB" if channels == 3 else "L").resize((size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".TIFF", ".webp", ".gif", ".jpg", ".JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_is_read(tmp_path: Path, suffix: str, channels: int) -> None:
    kind = {".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(suffix.lower(), suffix[1:].upper())
    path = _save(tmp_path / f"a{suffix}", _rgb(), format=kind)
    out = read_image(path, Geometry(16, channels, "stretch"))
    assert out.shape == (channels, 16, 16)
    assert out.dtype == np.uint8
    assert np.array_equal(out, _expected(Image.open(path), channels))


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.jpg", _rgb(), format="PNG")
    assert np.array_equal(read_image(path, SMALL), _expected(_rgb()))


@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (50, 50), (10, 12), (36, 36)])
@pytest.mark.parametrize("channels", [1, 3])
def test_center_crop_equals_torchvision_bit_for_bit(tmp_path: Path, height: int, width: int, channels: int) -> None:
    path = _save(tmp_path / "a.png", _rgb(0, height, width))
    image = Image.open(path).convert("RGB" if channels == 3 else "L")
    reference = transforms.Compose([transforms.Resize(36), transforms.CenterCrop(32), transforms.PILToTensor()])
    out = read_image(path, Geometry(32, channels, "center_crop", 32 / 36))
    assert np.array_equal(out, reference(image).numpy())


def test_stretch_equals_torchvision_bit_for_bit(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", _rgb(0, 45, 61))
    reference = transforms.Compose([transforms.Resize((32, 32)), transforms.PILToTensor()])
    out = read_image(path, Geometry(32, 3, "stretch"))
    assert np.array_equal(out, reference(Image.open(path)).numpy())


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_random_resized_crop_equals_torchvision_bit_for_bit_where_nothing_is_drafted(
    tmp_path: Path, suffix: str
) -> None:
    path = _save(tmp_path / f"a{suffix}", _rgb(0, 80, 90))
    whole = transforms.functional.pil_to_tensor(Image.open(path))
    draws = counter_uniform(1, 2, torch.arange(20), CROP_OPS)
    for i in range(20):
        box = crop_boxes(draws[:, i : i + 1], 80, 90, (0.1, 1), (0.75, 4 / 3))[0].tolist()
        out = read_image(path, Geometry(24, 3), draws[:, i], (0.1, 1), (0.75, 4 / 3))
        assert np.array_equal(out, v2.functional.resized_crop(whole, *box, [24, 24]).numpy())


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30, "subsampling": 0}], ids=str)
def test_torchvision_and_pillow_decode_a_jpeg_to_the_same_bits(
    tmp_path: Path, mode: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path / "a.jpg", Image.effect_noise((61, 83), 60).convert(mode), **options)
    geometries = [Geometry(40, channels, kind) for channels in (1, 3) for kind in ("stretch", "center_crop")]
    crop = counter_uniform(1, 2, torch.arange(1), CROP_OPS)[:, 0]
    assert formats._DECODE_JPEG is not None

    def read() -> list[np.ndarray]:
        return [read_image(path, geometry, *given) for geometry in geometries for given in ((), (crop, (0.3, 1.0)))]

    ours = read()
    monkeypatch.setattr(formats, "_DECODE_JPEG", None)
    assert all(np.array_equal(a, b) for a, b in zip(ours, read(), strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_draft_decoding_shows_the_same_crop_and_is_only_used_above_the_target_size(
    tmp_path: Path, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path / "a.jpg", _rgb(0, 531, 779), quality=95)
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
    path = _save(tmp_path / "a.jpg", _rgb(0, 400, 600), quality=95)
    assert np.array_equal(read_image(path, SMALL), _expected(Image.open(path)))


def test_grey_is_repeated_and_colour_becomes_luma(tmp_path: Path) -> None:
    grey = _save(tmp_path / "g.png", _rgb().convert("L"))
    out = read_image(grey, SMALL)
    assert np.array_equal(out[0], out[1])
    assert np.array_equal(out[0], out[2])
    one = read_image(_save(tmp_path / "c.png", Image.new("RGB", (9, 9), (100, 200, 50))), Geometry(4, 1, "stretch"))
    assert np.unique(one).tolist() == [round(0.299 * 100 + 0.587 * 200 + 0.114 * 50)]


def test_a_palette_shows_its_colours(tmp_path: Path) -> None:
    image = _rgb().quantize(16)
    path = _save(tmp_path / "p.png", image)
    assert Image.open(path).mode == "P"
    assert np.array_equal(read_image(path, SMALL), _expected(image.convert("RGB")))


def test_transparency_lies_over_white_whatever_is_hidden_under_it(tmp_path: Path) -> None:
    half = np.zeros((8, 8, 4), np.uint8)
    half[:, :] = (10, 20, 30, 255)
    half[:4] = (1, 2, 3, 0)
    rgba = Image.fromarray(half)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([200, 0, 0, 10, 20, 30])
    palette.paste(0, (0, 0, 8, 4))
    paths = [
        _save(tmp_path / "rgba.png", rgba),
        _save(tmp_path / "webp.webp", rgba, lossless=True),
        _save(tmp_path / "p.png", palette, transparency=0),
        _save(tmp_path / "p.gif", palette, transparency=0),
    ]
    for path in paths:
        out = read_image(path, Geometry(8, 3, "stretch"))
        assert out[:, 0, 0].tolist() == [255, 255, 255], path
        assert out[:, 7, 7].tolist() == [10, 20, 30], path
    grey_alpha = _save(tmp_path / "la.png", rgba.convert("LA"))
    assert read_image(grey_alpha, Geometry(8, 1, "stretch"))[0, [0, 7], 0].tolist() == [255, 18]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = _save(tmp_path / "cmyk.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    red, green, blue = read_image(path, SMALL)[:, 8, 8].tolist()
    assert (red > 250, green < 6, blue < 6) == (True, True, True)
    assert read_image(path, Geometry(16, 1, "stretch")).shape == (1, 16, 16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str, channels: int) -> None:
    wide = np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16).repeat(4, 0).repeat(4, 1)
    path = _save(tmp_path / f"w{suffix}", Image.fromarray(wide))
    out = read_image(path, Geometry(8, channels, "stretch"))
    assert out[0, [0, 0, 7, 7], [0, 7, 0, 7]].tolist() == [0, 100, 200, 255]


def test_float_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "f.tif", Image.fromarray(np.ones((8, 8), np.float32)))
    with pytest.raises(UserError, match="no known range"):
        read_image(path, SMALL)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    corners = np.zeros((32, 48), np.uint8)
    corners[:16, :24], corners[:16, 24:], corners[16:, :24], corners[16:, 24:] = 20, 90, 160, 230
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / f"a{suffix}", Image.fromarray(corners), exif=exif)
    # The EXIF standard: which stored corner is seen top left, top right, bottom left, bottom right.
    seen = {
        1: [20, 90, 160, 230],
        2: [90, 20, 230, 160],
        3: [230, 160, 90, 20],
        4: [160, 230, 20, 90],
        5: [20, 160, 90, 230],
        6: [160, 20, 230, 90],
        7: [230, 90, 160, 20],
        8: [90, 230, 20, 160],
    }[orientation]
    for crop in (None, torch.zeros(len(CROP_OPS))):
        out = read_image(path, Geometry(8, 1, "stretch"), crop, (1.0, 1.0), (0.1, 10.0)).astype(int)
        if crop is None:
            found = out[0, [0, 0, 7, 7], [0, 7, 0, 7]]
            assert np.abs(found - seen).max() <= 6
        else:
            assert abs(out[0, 0, 0] - seen[0]) <= 6


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    path = _save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path, Geometry(4, 3, "stretch"))[:, 0, 0].tolist() == [255, 0, 0]


def _png_bomb(path: Path, side: int = 60_000) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


def test_bad_files_are_named_with_the_reason_in_one_line(tmp_path: Path) -> None:
    good = _save(tmp_path / "good.jpg", _rgb())
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:400])
    (tmp_path / "half.jpg").write_bytes(good.read_bytes()[: good.stat().st_size * 2 // 3])
    png = _save(tmp_path / "good.png", Image.effect_noise((40, 60), 50))
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
    _save(path, Image.effect_noise((40, 50), 60).convert("RGB"), **options)
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
    path = _save(tmp_path / "a.png", _rgb(0, 40, 60))
    with pytest.raises(UserError, match="60 x 40 pixels, more than 2,000"):
        read_image(path, Geometry(8, 3, max_pixels=2000))


def test_garbled_exif_is_no_reason_to_refuse_the_pixels(tmp_path: Path) -> None:
    for i, garbage in enumerate((b"garbage", b"", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0")):
        path = _save(tmp_path / f"{i}.jpg", _rgb(), exif=b"Exif\0\0" + garbage)
        assert np.array_equal(read_image(path, SMALL), _expected(Image.open(path)))


def test_names_with_spaces_and_other_alphabets_are_read(tmp_path: Path) -> None:
    for name in ("Ромашка белая.png", "雏菊 (1).png", "d'été & co.png"):
        assert read_image(_save(tmp_path / name, _rgb()), SMALL).shape == (3, 16, 16)
