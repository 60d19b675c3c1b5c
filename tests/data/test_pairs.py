"""Pairs of hazy and clear photos: splits, windows that are the same on both sides, whole images, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lit_cnn.data import Augment, DehazePairs, WholeImages
from lit_cnn.data.pair_source import cut
from lit_cnn.data.transforms.rng import counter_uniform
from lit_cnn.errors import UserError
from lit_cnn.utils.files import digest

from .helpers import Recorder, make_trainer, pixels, sample_names

MakePairs = Callable[..., Path]


@pytest.fixture
def make_pairs(tmp_path: Path) -> MakePairs:
    """Return a function that writes pairs of differing sizes; the clear side is the hazy one's negative."""

    def make(count: int = 10, root: Path = tmp_path / "pairs", **names: str) -> Path:
        for side in ("hazy", "clear"):
            (root / names.get(side, side)).mkdir(parents=True)
        for i in range(count):
            hazy = pixels(i, 20 + i % 4, 24 + i % 3)
            for side, image in (("hazy", hazy), ("clear", 255 - hazy)):
                Image.fromarray(image).save(root / names.get(side, side) / f"{i:03d}.png")
        return root

    return make


def dehaze_pairs(root: Path, **kwargs: Any) -> DehazePairs:
    return DehazePairs(data_dir=str(root), **{"image_size": 16, "workers": 0, "batch_size": 4, **kwargs})


def read(root: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(root / name))


class Seen(Recorder):
    """Remembers the batches of training as it gets them."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.batches: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.batches.append((self.current_epoch, batch.index, batch.image, batch.target))
        return self.net.weight.sum()


def test_the_last_fifth_in_sorted_order_is_the_test_set_and_validation_comes_from_the_rest(make_pairs):
    data = dehaze_pairs(make_pairs(20))
    parts = {name: sample_names(data, name) for name in ("train", "val", "test")}
    assert parts["test"] == [f"hazy/{i:03d}.png" for i in range(16, 20)]
    rest = [f"hazy/{i:03d}.png" for i in range(16)]
    assert sorted(parts["train"] + parts["val"]) == rest
    assert parts["val"] == sorted(sorted(rest, key=lambda name: (digest(0, name), name))[:2])
    assert data.splits().keys() == {"train", "val", "test"}


def test_both_sides_get_the_same_window_and_the_same_flip_by_seed_epoch_and_sample_alone(make_pairs):
    root = make_pairs(12)
    model = Seen()
    make_trainer(max_epochs=2).fit(model, datamodule=dehaze_pairs(root, seed=5, val_fraction=0))
    flipped = 0
    for epoch, indices, hazy, clear in model.batches:
        assert hazy.shape == clear.shape == (len(indices), 3, 16, 16)
        assert torch.allclose(clear, 1 - hazy, atol=1e-6)  # the negative of the same pixels
        places = counter_uniform(5, epoch, indices, ("pair/y", "pair/x")).tolist()
        flips = (counter_uniform(5, epoch, indices, "flip/-1") < 0.5).tolist()
        for i, index in enumerate(indices.tolist()):
            image = read(root, f"hazy/{index:03d}.png")
            top, left = (int(places[k][i] * (image.shape[k] - 16 + 1)) for k in (0, 1))
            window = image[top : top + 16, left : left + 16]
            window = window[:, ::-1] if flips[i] else window
            assert torch.allclose(hazy[i], torch.from_numpy(window.copy()).permute(2, 0, 1) / 255, atol=1e-6)
        flipped += sum(flips)
    assert 0 < flipped < sum(len(indices) for _, indices, _, _ in model.batches)


def test_windows_do_not_depend_on_the_batch_size_and_differ_from_epoch_to_epoch(make_pairs):
    root = make_pairs(15)
    seen = []
    for batch_size in (3, 4):
        model = Seen()
        make_trainer(max_epochs=2).fit(model, datamodule=dehaze_pairs(root, batch_size=batch_size, val_fraction=0))
        seen.append({})
        for epoch, indices, images, _ in model.batches:
            seen[-1] |= {(epoch, int(index)): image for index, image in zip(indices, images, strict=True)}
    assert seen[0].keys() == seen[1].keys()
    assert all(torch.equal(seen[0][key], image) for key, image in seen[1].items())
    assert any(not torch.equal(image, seen[0][1, index]) for (epoch, index), image in seen[0].items() if epoch == 0)


def test_validation_and_test_see_whole_images_of_their_own_size_one_at_a_time(make_pairs):
    root = make_pairs(10)
    data = dehaze_pairs(root)
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for given in loader:
            batch = data.on_after_batch_transfer(given, 0)
            name = f"{int(batch.index):03d}.png"
            for image, side in ((batch.image, "hazy"), (batch.target, "clear")):
                expected = torch.from_numpy(read(root, f"{side}/{name}").copy()).permute(2, 0, 1)[None] / 255
                assert torch.allclose(image, expected, atol=1e-6)


def test_images_that_are_smaller_than_the_window_are_mirrored_at_their_borders():
    image = pixels(0, 5, 30)
    window = cut(image, (16, 16), (0.0, 0.999))
    assert window.shape == (16, 16, 3)
    assert np.array_equal(window[5:10], image[:, 14:])
    assert np.array_equal(window[4::-1], image[:, 14:])


def test_folders_may_have_other_names_and_extensions_may_differ(tmp_path, make_pairs):
    root = make_pairs(5, hazy="foggy", clear="sunny")
    for path in (root / "sunny").iterdir():
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    assert sample_names(dehaze_pairs(root, hazy="foggy", clear="sunny"), "test") == ["foggy/004.png"]
    with pytest.raises(UserError, match=r"there is no folder .*hazy: .* has to hold hazy and clear"):
        dehaze_pairs(root).build_splits([])


def spoil(root: Path) -> dict[str, str]:
    """Make a pair of each kind that cannot be used; returns the file and the reason."""
    (root / "clear" / "001.png").unlink()
    (root / "hazy" / "002.png").unlink()
    Image.fromarray(pixels(0, 9, 30)).save(root / "clear" / "003.png")
    (root / "hazy" / "004.png").write_bytes(b"")
    return {
        "hazy/001.png": "not in clear",
        "clear/002.png": "not in hazy",
        "hazy/003.png": "24x23, clear/003.png is 30x9 pixels",
        "hazy/004.png": "it is empty or no image of a known format",
    }


def test_pairs_that_are_incomplete_unreadable_or_of_two_sizes_are_named_in_one_line(make_pairs):
    root = make_pairs(12)
    bad = spoil(root)
    with pytest.raises(UserError) as error:
        dehaze_pairs(root).build_splits([])
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(f"{root}: 4 of 12 pairs cannot be used: ")
    assert all(f"{path} ({reason})" in line for path, reason in bad.items())
    assert line.endswith("leave them out with `data.on_bad_image=skip`")


def test_they_are_left_out_on_request_and_a_damaged_one_is_found_too(make_pairs, capsys):
    root = make_pairs(12)
    bad = spoil(root)
    whole = (root / "clear" / "006.png").read_bytes()
    (root / "clear" / "006.png").write_bytes(whole[: len(whole) // 2])  # its header is good
    data = dehaze_pairs(root, on_bad_image="skip")
    names = [name for split in data.splits() for name in sample_names(data, split)]
    assert sorted(names) == [f"hazy/{i:03d}.png" for i in (0, 5, 7, 8, 9, 10, 11)]
    assert data.skipped().keys() == {*bad, "clear/006.png"}
    assert "5 of 12 pairs cannot be used" in capsys.readouterr().err


def test_a_damaged_photo_stops_training_with_its_name(make_pairs):
    root = make_pairs(6)
    whole = (root / "clear" / "000.png").read_bytes()
    (root / "clear" / "000.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot read image .*clear/000\.png"):
        list(dehaze_pairs(root, val_fraction=0).train_dataloader())


def test_two_files_of_one_name_are_refused(make_pairs):
    root = make_pairs(3)
    Image.fromarray(pixels(0)).save(root / "hazy" / "001.bmp")
    with pytest.raises(UserError, match="files that differ in their extension alone: 001"):
        dehaze_pairs(root).build_splits([])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": Augment(brightness=0.2)}, "`data.augment.brightness` would change one side"),
        ({"normalize": "imagenet"}, "leave `data.normalize` out"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, "leave `data.mean` and `data.std` out"),
        ({"channels": 4}, "`data.channels` is 4"),
        ({"eval_batch_size": 8}, "evaluated one at a time"),
        ({"clear": "hazy"}, "`data.hazy` and `data.clear` are both 'hazy'"),
        ({"on_bad_image": "drop"}, "choose error or skip"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        dehaze_pairs(tmp_path, **settings)


def test_the_fingerprint_depends_on_both_sides(make_pairs, tmp_path):
    roots = [make_pairs(4, tmp_path / name) for name in ("a", "b")]
    assert dehaze_pairs(roots[0]).fingerprint() == dehaze_pairs(roots[1]).fingerprint()
    Image.fromarray(pixels(9, 20, 24)).save(roots[1] / "clear" / "000.png")
    assert dehaze_pairs(roots[0]).fingerprint() != dehaze_pairs(roots[1]).fingerprint()


def test_photos_to_restore_keep_their_size_and_broken_ones_are_left_out(make_pairs):
    root = make_pairs(3)
    (root / "hazy" / "001.png").write_bytes(b"no image")
    data = WholeImages(paths=[str(root / "hazy")], on_bad_image="skip", mean=[0.0] * 3, std=[1.0] * 3, class_names=[])
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.predict_dataloader()]
    assert [tuple(batch.image.shape[1:]) for batch in batches] == [(3, 20, 24), (3, 1, 1), (3, 22, 26)]
    assert torch.allclose(
        batches[2].image[0], torch.from_numpy(read(root, "hazy/002.png").copy()).permute(2, 0, 1) / 255
    )
    assert [int(batch.target) for batch in batches] == [-1, -1, -1]
    assert list(data.skipped()) == [str(root / "hazy" / "001.png")]
