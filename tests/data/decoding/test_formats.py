"""Files of every format and pixel kind become the colours that a viewer shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_cnn.data.decoding import formats, optional_formats
from lit_cnn.data.decoding.decode import read_image
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform
from lit_cnn.errors import UserError
from tests.data.decoding.helpers import SMALL, expected_pixels, rgb_image, save_image

KINDS = {
    **dict.fromkeys((".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp"), "JPEG"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"), "JPEG2000"),
    **{".apng": "PNG", ".ppm": "PPM", ".pnm": "PPM", ".dib": "DIB"},
}


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".TIFF", ".webp", ".gif", ".jpg", ".JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_is_read(tmp_path: Path, suffix: str, channels: int) -> None:
    kind = {".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(suffix.lower(), suffix[1:].upper())
    path = save_image(tmp_path / f"a{suffix}", rgb_image(), format=kind)
    out = read_image(path, Geometry(16, channels, "stretch"))
    assert out.shape == (channels, 16, 16)
    assert out.dtype == np.uint8
    assert np.array_equal(out, expected_pixels(Image.open(path), channels))


OTHERS = (".mpo", ".pbm", ".pgm", ".npy", *optional_formats.INSTALLED)  # have tests of their own


@pytest.mark.parametrize("suffix", [s for s in formats.EXTENSIONS if s not in OTHERS])
def test_further_names_and_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path = save_image(tmp_path / f"a{suffix}", rgb_image(), format=KINDS.get(suffix))
    for channels in (1, 3):
        out = read_image(path, Geometry(16, channels, "stretch"))
        assert np.array_equal(out, expected_pixels(Image.open(path), channels))


def test_grey_ppm_files_of_any_depth_are_scaled_to_8_bits(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 65535\n" + b"\x00\x00\x80\x80\xff\xff\x01\x01")
    (tmp_path / "b.pgm").write_bytes(b"P5 2 2 255\n\x00\x80\xff\x01")
    (tmp_path / "c.pbm").write_bytes(b"P4 2 2\n\x80\x40")
    found = [read_image(tmp_path / name, Geometry(2, 1, "stretch")).flatten().tolist() for name in ("a.pgm", "b.pgm")]
    assert found == [[0, 128, 255, 1]] * 2
    assert read_image(tmp_path / "c.pbm", Geometry(2, 1, "stretch")).flatten().tolist() == [0, 255, 255, 0]


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.jpg", rgb_image(), format="PNG")
    assert np.array_equal(read_image(path, SMALL), expected_pixels(rgb_image()))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30, "subsampling": 0}], ids=str)
def test_torchvision_and_pillow_decode_a_jpeg_to_the_same_bits(
    tmp_path: Path, mode: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_image(tmp_path / "a.jpg", Image.effect_noise((61, 83), 60).convert(mode), **options)
    geometries = [Geometry(40, channels, kind) for channels in (1, 3) for kind in ("stretch", "center_crop")]
    crop = counter_uniform(1, 2, torch.arange(1), CROP_OPS)[:, 0]
    assert formats._DECODE_JPEG is not None

    def read() -> list[np.ndarray]:
        return [read_image(path, geometry, *given) for geometry in geometries for given in ((), (crop, (0.3, 1.0)))]

    ours = read()
    monkeypatch.setattr(formats, "_DECODE_JPEG", None)
    assert all(np.array_equal(a, b) for a, b in zip(ours, read(), strict=True))


def test_grey_is_repeated_and_colour_becomes_luma(tmp_path: Path) -> None:
    grey = save_image(tmp_path / "g.png", rgb_image().convert("L"))
    out = read_image(grey, SMALL)
    assert np.array_equal(out[0], out[1])
    assert np.array_equal(out[0], out[2])
    one = read_image(
        save_image(tmp_path / "c.png", Image.new("RGB", (9, 9), (100, 200, 50))), Geometry(4, 1, "stretch")
    )
    assert np.unique(one).tolist() == [round(0.299 * 100 + 0.587 * 200 + 0.114 * 50)]


def test_a_palette_shows_its_colours(tmp_path: Path) -> None:
    image = rgb_image().quantize(16)
    path = save_image(tmp_path / "p.png", image)
    assert Image.open(path).mode == "P"
    assert np.array_equal(read_image(path, SMALL), expected_pixels(image.convert("RGB")))


def test_transparency_lies_over_white_whatever_is_hidden_under_it(tmp_path: Path) -> None:
    half = np.zeros((8, 8, 4), np.uint8)
    half[:, :] = (10, 20, 30, 255)
    half[:4] = (1, 2, 3, 0)
    rgba = Image.fromarray(half)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([200, 0, 0, 10, 20, 30])
    palette.paste(0, (0, 0, 8, 4))
    paths = [
        save_image(tmp_path / "rgba.png", rgba),
        save_image(tmp_path / "webp.webp", rgba, lossless=True),
        save_image(tmp_path / "p.png", palette, transparency=0),
        save_image(tmp_path / "p.gif", palette, transparency=0),
    ]
    for path in paths:
        out = read_image(path, Geometry(8, 3, "stretch"))
        assert out[:, 0, 0].tolist() == [255, 255, 255], path
        assert out[:, 7, 7].tolist() == [10, 20, 30], path
    grey_alpha = save_image(tmp_path / "la.png", rgba.convert("LA"))
    assert read_image(grey_alpha, Geometry(8, 1, "stretch"))[0, [0, 7], 0].tolist() == [255, 18]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = save_image(tmp_path / "cmyk.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    red, green, blue = read_image(path, SMALL)[:, 8, 8].tolist()
    assert (red > 250, green < 6, blue < 6) == (True, True, True)
    assert read_image(path, Geometry(16, 1, "stretch")).shape == (1, 16, 16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str, channels: int) -> None:
    wide = np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16).repeat(4, 0).repeat(4, 1)
    path = save_image(tmp_path / f"w{suffix}", Image.fromarray(wide))
    out = read_image(path, Geometry(8, channels, "stretch"))
    assert out[0, [0, 0, 7, 7], [0, 7, 0, 7]].tolist() == [0, 100, 200, 255]


def test_float_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    path = save_image(tmp_path / "f.tif", Image.fromarray(np.ones((8, 8), np.float32)))
    with pytest.raises(UserError, match="no known range"):
        read_image(path, SMALL)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    corners = np.zeros((32, 48), np.uint8)
    corners[:16, :24], corners[:16, 24:], corners[16:, :24], corners[16:, 24:] = 20, 90, 160, 230
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save_image(tmp_path / f"a{suffix}", Image.fromarray(corners), exif=exif)
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
    path = save_image(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path, Geometry(4, 3, "stretch"))[:, 0, 0].tolist() == [255, 0, 0]


def test_garbled_exif_is_no_reason_to_refuse_the_pixels(tmp_path: Path) -> None:
    for i, garbage in enumerate((b"garbage", b"", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0")):
        path = save_image(tmp_path / f"{i}.jpg", rgb_image(), exif=b"Exif\0\0" + garbage)
        assert np.array_equal(read_image(path, SMALL), expected_pixels(Image.open(path)))
