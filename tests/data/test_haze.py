"""Synthetic haze: the scattering model, and folders of pairs that DehazePairs reads."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lit_cnn.cli.main import main
from lit_cnn.data import DehazePairs
from lit_cnn.data.haze import add_haze, depth_map, write_hazy_pairs
from lit_cnn.errors import UserError

from .helpers import pixels


def test_haze_is_the_atmospheric_scattering_model():
    clear, depth = pixels(0, 30, 40), depth_map(30, 40, np.random.default_rng(1))
    assert depth.shape == (30, 40)
    assert 0 <= depth.min() < depth.max() <= 1
    hazy = add_haze(clear, depth, beta=1.3, light=0.9)
    for y, x in ((0, 0), (13, 7), (29, 39)):
        t = np.exp(-1.3 * depth[y, x])
        assert hazy[y, x] == pytest.approx(clear[y, x] * t + 255 * 0.9 * (1 - t), abs=0.51)
    assert np.array_equal(add_haze(clear, depth, beta=0.0, light=0.9), clear)
    assert (add_haze(clear, np.full((30, 40), 50.0, np.float32), 1.3, 0.8) == 204).all()


@pytest.fixture
def photos(tmp_path):
    for i, name in enumerate(("a.png", "b.jpg", "sub/c.png", "d.png", "e.bmp")):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i, 30, 36 + i)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def test_any_folder_of_photos_becomes_pairs_to_train_on(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["prepare", "photos", "--haze", "pairs"])
    printed = capsys.readouterr()
    assert "train on them with --data DehazePairs --data-dir pairs" in printed.out
    assert "broken.png (it is empty or no image of a known format)" in printed.err
    data = DehazePairs(data_dir="pairs", workers=0)
    files = sorted(data.sample_name(split, i) for split, part in data.splits().items() for i in part.indices.tolist())
    assert files == [f"hazy/{name}.jpg" for name in ("a", "b", "d", "e", "sub/c")]
    clear = np.asarray(Image.open("pairs/clear/a.jpg")).astype(int)
    hazy = np.asarray(Image.open("pairs/hazy/a.jpg")).astype(int)
    assert abs(clear - np.asarray(Image.open("photos/a.png"))).mean() < 3
    assert hazy.std() < 0.9 * clear.std()


def test_the_same_photos_get_the_same_haze_whatever_the_threads(photos, tmp_path):
    for name, threads in (("one", 1), ("three", 3)):
        write_hazy_pairs(photos, tmp_path / name, threads)
    for path in (tmp_path / "one").rglob("*.jpg"):
        assert path.read_bytes() == (tmp_path / "three" / path.relative_to(tmp_path / "one")).read_bytes()


def test_what_cannot_be_done_is_refused_in_a_line(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        write_hazy_pairs(tmp_path / "empty", tmp_path / "out", 1)
    write_hazy_pairs(photos, tmp_path / "out", 1)
    with pytest.raises(UserError, match="hazy is there already"):
        write_hazy_pairs(photos, tmp_path / "out", 1)
    Image.fromarray(pixels(0)).save(photos / "a.bmp")
    with pytest.raises(UserError, match="several files are called a, but for the extension"):
        write_hazy_pairs(photos, tmp_path / "other", 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--haze", "pairs"], "lit-cnn prepare PHOTOS --haze OUT"),
        (["nowhere", "--haze", "pairs"], "lit-cnn prepare PHOTOS --haze OUT"),
        (["photos", "--haze", "pairs", "--img-size=64"], "--data.image_size has no effect with --haze"),
    ],
)
def test_a_folder_alone_is_taken(photos, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["prepare", *words])
    assert message in capsys.readouterr().err
