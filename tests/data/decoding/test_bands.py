"""Images of any number of channels: NumPy files and TIFFs, scaled to 8 bits; what would be misread is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_cnn.api.images import GivenImages
from lit_cnn.data import Augment, Digits, Images
from lit_cnn.data.decoding.bands import parse_value_range
from lit_cnn.data.decoding.decode import read_bounded, read_image
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform
from lit_cnn.errors import UserError
from tests.data.helpers import Recorder, image_folder, make_trainer

rng = np.random.default_rng(0)
BANDS = rng.integers(0, 256, (20, 24, 5), dtype=np.uint8)


def npy(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


def whole(path: Path, channels: int, size: tuple[int, int] = (20, 24), **kwargs: object) -> np.ndarray:
    return read_image(path, Geometry(size, channels, "stretch", **kwargs))


@pytest.mark.parametrize("values", [BANDS, BANDS.transpose(2, 0, 1), np.asfortranarray(BANDS)])
def test_channels_are_first_or_last(values: np.ndarray, tmp_path: Path) -> None:
    assert np.array_equal(whole(npy(tmp_path / "a.npy", values), 5), BANDS.transpose(2, 0, 1))


def test_grey_and_rgb_arrays_are_read_as_photos_of_the_same_pixels_are(tmp_path: Path) -> None:
    for values in (BANDS[:, :, 0], BANDS[:, :, :3]):
        photo, array = tmp_path / "a.png", npy(tmp_path / "a.npy", values)
        Image.fromarray(values).save(photo)
        for geometry in (Geometry(16, 1), Geometry(16, 3), Geometry((9, 30), 3, "letterbox")):
            assert np.array_equal(read_image(array, geometry), read_image(photo, geometry))
        draws = counter_uniform(1, 0, torch.arange(1), CROP_OPS)[:, 0]
        crops = [read_image(path, Geometry(16, 3), draws, (0.3, 1.0), (0.75, 4 / 3)) for path in (array, photo)]
        assert np.array_equal(*crops)


def test_every_band_is_resized_by_itself(tmp_path: Path) -> None:
    path, draws = npy(tmp_path / "a.npy", BANDS), counter_uniform(1, 0, torch.arange(1), CROP_OPS)[:, 0]
    singles = [npy(tmp_path / f"{i}.npy", BANDS[:, :, i]) for i in range(5)]
    for kind in ("center_crop", "stretch", "letterbox"):
        bands = [read_image(single, Geometry((11, 9), 1, kind)) for single in singles]
        assert np.array_equal(read_image(path, Geometry((11, 9), 5, kind)), np.concatenate(bands))
    crop = read_image(path, Geometry((11, 9), 5), draws, (0.3, 1.0), (0.75, 4 / 3)).astype(int)
    ones = [read_image(single, Geometry((11, 9), 1), draws, (0.3, 1.0), (0.75, 4 / 3)) for single in singles]
    assert np.abs(crop - np.concatenate(ones)).max() <= 1  # torch's kernel and Pillow's
    assert np.array_equal(read_bounded(path, Geometry(10, 5), 100), BANDS)


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (np.array([[0, 200, 65535]], np.uint16), None, [0, 1, 255]),
        (np.array([[0, 0.5, 1]], np.float32), None, [0, 128, 255]),
        (np.array([[-100, 5000, 20000]], np.int16), (0, 10000), [0, 128, 255]),
        (np.array([[0, 5000, 10000]], np.uint16), (0, 10000), [0, 128, 255]),
        (np.array([[-3.0, 0.0, 1.0]]), (-1, 1), [0, 128, 255]),
        (np.array([[False, True, True]]), None, [0, 255, 255]),
        (np.array([[0, 7, 255]], np.uint8), (0, 10000), [0, 7, 255]),
    ],
)
def test_values_become_8_bits(values: np.ndarray, value_range: object, expected: list[int], tmp_path: Path) -> None:
    out = whole(npy(tmp_path / "a.npy", values), 1, (1, 3), value_range=value_range)
    assert out.flatten().tolist() == expected


@pytest.mark.parametrize(
    ("values", "channels", "reason"),
    [
        (BANDS, 3, r"shape \(20, 24, 5\), and `data.channels` is 3: set `data.channels=5`"),
        (BANDS[:5], 5, "are its 5 channels first or last"),
        (BANDS[:, :, 0], 5, "it has 1 channel, and `data.channels` is 5"),
        (BANDS.astype(np.float32), 5, r"float32 from 0 to 255, are not all in \[0, 1\]: set `data.value_range"),
        (BANDS.astype(np.int32), 5, "are of no known range: set `data.value_range"),
        (np.full((4, 4), np.nan), 1, "nan or infinite"),
        (np.array([[{}]]), 1, "object"),
        (np.zeros((2, 2, 2, 2), np.uint8), 1, "save"),
    ],
)
def test_what_would_be_misread_is_refused_in_one_line(
    values: np.ndarray, channels: int, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"(?i)a\\.npy: .*{reason}") as error:
        whole(npy(tmp_path / "a.npy", values), channels)
    assert "\n" not in str(error.value)


def test_a_header_that_claims_too_much_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = npy(tmp_path / "a.npy", BANDS)
    with pytest.raises(UserError, match="it claims 480 pixels, more than 400"):
        whole(path, 5, max_pixels=400)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="it is truncated: 2,300 bytes of 2,400"):
        whole(path, 5)


def test_a_tiff_of_several_pages_has_a_band_on_each(tmp_path: Path) -> None:
    wide = BANDS.astype(np.uint16) * 257
    for values, name in ((BANDS, "a.tif"), (wide, "b.tif")):
        pages = [Image.fromarray(np.ascontiguousarray(values[:, :, i])) for i in range(5)]
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        assert np.array_equal(whole(tmp_path / name, 5), BANDS.transpose(2, 0, 1))


def test_a_tiff_of_several_samples_is_read_by_tifffile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile")
    wide = BANDS.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", wide, photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(tmp_path / "b.tif", wide.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate")
    for name in ("a.tif", "b.tif"):
        assert np.array_equal(whole(tmp_path / name, 5), BANDS.transpose(2, 0, 1))
        with pytest.raises(UserError, match=r"it is a tiff with 5 channels, and `data\.channels` is 4"):
            whole(tmp_path / name, 4)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UserError, match=r"pip install 'lit-cnn\[formats\]'"):
        whole(tmp_path / "a.tif", 5)


def test_transparency_is_a_band_where_the_model_takes_four(tmp_path: Path) -> None:
    Image.fromarray(np.ascontiguousarray(BANDS[:, :, :4]), "RGBA").save(tmp_path / "a.png")
    assert np.array_equal(whole(tmp_path / "a.png", 4), BANDS[:, :, :4].transpose(2, 0, 1))
    Image.fromarray(BANDS[:, :, 0]).save(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"type l, and `data\.channels` is 4"):
        whole(tmp_path / "b.png", 4)


def test_a_folder_of_bands_trains_from_any_cache_and_predicts_arrays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(8):
            npy(tmp_path / "set" / label / f"{i}.npy", rng.integers(0, 10000, (20, 24, 5)).astype(np.uint16))
    settings = {"channels": 5, "value_range": [0, 10000], "image_size": (8, 10), "cache_size": 100}
    settings["augment"] = Augment(crop_scale=(0.3, 1.0), contrast=0.1, brightness=0.1)
    seen = []
    for cache in ("none", "ram", "disk"):
        data, model = image_folder(tmp_path / "set", cache=cache, **settings), Recorder(400, 2)
        make_trainer(max_epochs=1).fit(model, datamodule=data)
        seen.append(model.seen)
    assert seen[0] == seen[1] == seen[2]
    assert "ImageNet has no mean of 5 channels: computed over the training images" in capsys.readouterr().out
    assert data.broken == {}
    stored = data.preprocessing()
    assert (stored["channels"], stored["value_range"], len(stored["mean"])) == (5, [0, 10000], 5)
    path = tmp_path / "set" / "cat" / "0.npy"
    images = [
        next(iter(part.predict_dataloader())).image
        for part in (Images(paths=[str(path)], **stored), GivenImages([np.load(path)], **stored))
    ]
    assert torch.equal(*images)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Images(channels=0), "`data.channels` is 0"),
        (lambda: Images(channels=5, augment=Augment(hue=0.1)), "`data.augment.hue` changes RGB colours"),
        (lambda: Digits(channels=5), "`data.channels` is 5: choose 1"),
        (lambda: parse_value_range([1, 0]), "`data.value_range` is"),
        (lambda: parse_value_range([0, 1, 2]), "`data.value_range` is"),
    ],
)
def test_settings_that_cannot_be_are_one_line(make: Callable[[], object], line: str) -> None:
    with pytest.raises(UserError, match=line):
        make()
