"""HEIC and JPEG XL: read where their package is installed, imported when a file needs it, else one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lit_cnn.data.decoding import optional_formats
from lit_cnn.data.decoding.decode import check_image, read_image
from lit_cnn.data.decoding.find import LeftOut, find_image_files, is_image_name
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.errors import UserError
from tests.data.decoding.helpers import rgb_image

KINDS = [("pillow_heif", "a.heic", "HEIC"), ("pillow_jxl", "a.jxl", "JPEG XL")]


def save(package: str, path: Path, **kwargs: object) -> Path:
    plugin = pytest.importorskip(package)
    if package == "pillow_heif":
        plugin.register_heif_opener()
        kwargs["quality"] = 100
    rgb_image(0, 40, 60).save(path, **kwargs)
    return path


@pytest.mark.parametrize(("package", "name", "title"), KINDS)
def test_a_file_of_the_format_has_the_pixels_that_its_library_reads(
    package: str, name: str, title: str, tmp_path: Path
) -> None:
    path = save(package, tmp_path / name)
    renamed = path.rename(tmp_path / "b.jpg")  # the content decides
    pixels = np.asarray(Image.open(renamed).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_image(renamed, Geometry((40, 60), 3, "stretch")), pixels)
    assert np.abs(pixels.astype(int) - np.asarray(rgb_image(0, 40, 60)).transpose(2, 0, 1)).mean() < 5
    assert check_image(renamed, 10**6) == (None, True)
    assert "it claims 60 x 40 pixels" in str(check_image(renamed, 2000)[0])
    assert is_image_name("photo.HEIC" if title == "HEIC" else "photo.JXL")


def test_a_phones_photo_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    path = save("pillow_heif", tmp_path / "a.heic", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_image(path, Geometry(upright.shape[1:], 3, "stretch")), upright)


@pytest.mark.parametrize(("package", "name", "title"), KINDS)
def test_without_the_package_one_line_names_the_extra(
    package: str, name: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(package, tmp_path / name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(Image, "OPEN", {key: value for key, value in Image.OPEN.items() if key not in ("HEIF", "JXL")})
    with pytest.raises(UserError, match=rf"(?i)it is a {title} image: pip install 'lit-cnn\[formats\]'"):
        read_image(path, Geometry(16, 3))
    left_out = LeftOut()
    monkeypatch.setattr("lit_cnn.data.decoding.find.EXTENSIONS", (".jpg",))
    assert list(find_image_files(tmp_path, left_out)) == []
    assert str(left_out) == f"1 {path.suffix} ({name}: pip install 'lit-cnn[formats]')"


def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[0x010F] = "camera"
    for width, height in ((60, 40), (8, 8), (256, 256), (300, 200), (1000, 7), (9000, 1), (160, 90), (33, 65)):
        for name, kwargs in (("a.jxl", {}), ("b.jxl", {"exif": exif.tobytes()})):  # a bare codestream, and a container
            path = tmp_path / name
            rgb_image(0, height, width).save(path, **kwargs)
            assert optional_formats.jxl_size(path.read_bytes()) == (width, height)
    monkeypatch.setattr(plugin.JpegXLImagePlugin.JXLImageFile, "_open", None)
    assert "it claims 33 x 65 pixels, more than 2,000" in str(check_image(path, 2000)[0])
    for content in (b"", b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0" * 40):
        optional_formats.jxl_size(content)


@pytest.mark.slow  # imports torch
def test_the_packages_are_not_imported_before_a_file_needs_them() -> None:
    code = "import sys, lit_cnn.data; print({'pillow_heif', 'pillow_jxl', 'pillow_avif'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_files_of_no_such_format_are_left_to_pillow() -> None:
    for head in (b"", b"\xff\xd8\xff\xe0\0\x10JFIF\0\0\0\0", b"\0\0\0\x18ftypisom\0\0\0\0", b"II*\0\0\0\0\0\0\0\0\0"):
        assert optional_formats.register_for(head) is None
