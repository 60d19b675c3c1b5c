"""Sets in memory: the published formats, verified before reading, resized, split, normalised."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import pickletools
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from lit_cnn.data import CIFAR10, MNIST, Augment, Digits, FashionMNIST, array_source, mnist_cifar_files
from lit_cnn.data.array_source import ArraySource, to_shape
from lit_cnn.data.transforms.augment import augment_batch
from lit_cnn.data.transforms.rng import permutation
from lit_cnn.errors import UserError
from lit_cnn.utils.download import PublishedFile

from .helpers import Recorder, make_trainer


def _idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


@pytest.fixture
def idx_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Write a tiny set in MNIST's format, gzipped, and make its sums the published ones."""
    rng = np.random.default_rng(0)
    arrays_: dict[str, np.ndarray] = {}
    files: dict[str, tuple[mnist_cifar_files.IdxFile, mnist_cifar_files.IdxFile]] = {}
    for part, prefix, n in (("train", "train", 60), ("test", "t10k", 20)):
        contents = {
            f"{prefix}-images-idx3-ubyte.gz": rng.integers(0, 256, (n, 28, 28), dtype=np.uint8),
            f"{prefix}-labels-idx1-ubyte.gz": (np.arange(n) % 10).astype(np.uint8),
        }
        pair = []
        for name, array in contents.items():
            arrays_[name] = array
            (tmp_path / name).write_bytes(gzip.compress(_idx(array)))
            pair.append(mnist_cifar_files.IdxFile(PublishedFile(name, ()), hashlib.sha256(_idx(array)).hexdigest()))
        files[part] = (pair[0], pair[1])
    monkeypatch.setattr(MNIST, "FILES", files)
    monkeypatch.setattr(FashionMNIST, "FILES", files)
    return arrays_


def _all_batches(loader: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batches = list(loader)  # type: ignore[call-overload]
    return tuple(torch.cat(column) for column in zip(*batches, strict=True))  # type: ignore[return-value]


def test_mnist_gives_out_the_pixels_and_labels_of_the_files(idx_files: dict[str, np.ndarray], tmp_path: Path) -> None:
    data = MNIST(data_dir=str(tmp_path), batch_size=6)
    data.setup("test")
    image, target, index = _all_batches(data.test_dataloader())
    assert np.array_equal(image[:, 0].numpy(), idx_files["t10k-images-idx3-ubyte.gz"])
    assert target.tolist() == idx_files["t10k-labels-idx1-ubyte.gz"].tolist()
    assert index.tolist() == list(range(20))
    assert data.sample_name("test", 3) == "test/3"
    data.setup("fit")
    image, target, index = _all_batches(data.val_dataloader())
    assert np.array_equal(image[:, 0].numpy(), idx_files["train-images-idx3-ubyte.gz"][index.numpy()])
    assert torch.bincount(target).tolist() == [1] * 10
    trained = _all_batches(data.train_dataloader())[2]
    assert sorted(trained.tolist() + index.tolist()) == list(range(60))
    assert data.sample_name("val", int(index[0])) == f"train/{int(index[0])}"


@pytest.mark.parametrize("where", ["", "MNIST/raw", "raw"])
@pytest.mark.parametrize("name", ["{}.gz", "{}", "{dotted}"])
def test_idx_files_are_found_gzipped_or_not_in_the_usual_places(
    idx_files: dict[str, np.ndarray], tmp_path: Path, where: str, name: str
) -> None:
    folder = tmp_path / "elsewhere" / where
    folder.mkdir(parents=True)
    for archive in idx_files:
        plain = archive.removesuffix(".gz")
        content = (tmp_path / archive).read_bytes()
        target = folder / name.format(plain, dotted=plain.replace("-idx", ".idx"))
        target.write_bytes(content if target.suffix == ".gz" else gzip.decompress(content))
    data = MNIST(data_dir=str(tmp_path / "elsewhere"))
    data.setup("test")
    assert len(_all_batches(data.test_dataloader())[0]) == 20


def test_idx_files_that_are_altered_or_damaged_are_refused_by_name(
    idx_files: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    altered = idx_files[path.name].copy()
    altered[0, 0, 0] ^= 1
    path.write_bytes(gzip.compress(_idx(altered)))
    sums = [hashlib.sha256(_idx(array)).hexdigest() for array in (altered, idx_files[path.name])]
    with pytest.raises(UserError, match=f"{path.name} .*{sums[0]}, expected {sums[1]}"):
        MNIST(data_dir=str(tmp_path)).setup("test")
    path.write_bytes(gzip.compress(_idx(altered))[:-9])
    with pytest.raises(UserError, match=f"cannot unpack .*{path.name}"):
        MNIST(data_dir=str(tmp_path)).setup("test")
    short = _idx(altered)[:-1]
    path.write_bytes(gzip.compress(short))
    with pytest.raises(UserError, match="not a complete idx file"):
        mnist_cifar_files.read_idx(path, hashlib.sha256(short).hexdigest(), dims=3)


def test_missing_files_are_refused_with_their_paths_and_what_works_offline(tmp_path: Path) -> None:
    for kind in (MNIST, CIFAR10):
        with pytest.raises(UserError) as caught:
            kind(data_dir=str(tmp_path)).setup("fit")
        message = str(caught.value)
        assert "\n" not in message
        for part in (str(tmp_path), "`data.data_dir`", "`data.download=true`", "`data=Digits`"):
            assert part in message


def test_fashion_mnist_is_also_found_where_debian_installs_it() -> None:
    assert Path("/usr/share/datasets/fashion-mnist") in FashionMNIST(data_dir="x")._folders()


def _cifar_batch(seed: int, n: int = 20) -> dict[bytes, object]:
    rng = np.random.default_rng(seed)
    return {b"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8), b"labels": [i % 10 for i in range(n)]}


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a tiny set in CIFAR-10's format, as a folder and as an archive, and make its sums the published ones."""
    folder = tmp_path / "folder" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    sums = {}
    for i, name in enumerate(mnist_cifar_files.CIFAR_BATCHES):
        content = pickle.dumps(_cifar_batch(i), protocol=3)
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    archive = tmp_path / "archive" / mnist_cifar_files.CIFAR_ARCHIVE.name
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-py")
    monkeypatch.setattr(mnist_cifar_files, "CIFAR_BATCHES", sums)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(mnist_cifar_files, "CIFAR_ARCHIVE", PublishedFile(archive.name, ("http://x",), md5=md5))
    return tmp_path


@pytest.mark.parametrize("where", ["folder", "folder/cifar-10-batches-py", "archive"])
def test_cifar_is_read_from_the_archive_or_the_folder_without_writing_anything(cifar: Path, where: str) -> None:
    before = sorted(cifar.rglob("*"))
    data = CIFAR10(data_dir=str(cifar / where), batch_size=50)
    data.setup("test")
    image, target, _ = _all_batches(data.test_dataloader())
    expected = _cifar_batch(5)
    assert np.array_equal(image.numpy(), np.asarray(expected[b"data"]).reshape(20, 3, 32, 32))
    assert target.tolist() == expected[b"labels"]
    data.setup("fit")
    assert {name: len(part.indices) for name, part in data._splits.items()} == {"test": 20, "train": 90, "val": 10}
    source = data._splits["train"].source
    assert isinstance(source, ArraySource)
    everything = np.concatenate([np.asarray(_cifar_batch(i)[b"data"]) for i in range(5)])
    assert np.array_equal(source.images.numpy().reshape(100, 3072), everything)
    assert sorted(cifar.rglob("*")) == before


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def test_a_cifar_file_with_a_wrong_sum_is_named_and_never_unpickled(cifar: Path) -> None:
    canary = cifar / "canary"
    evil = pickle.dumps(_Bomb(canary))
    path = cifar / "folder" / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(evil)
    with pytest.raises(UserError) as caught:
        CIFAR10(data_dir=str(cifar / "folder")).setup("fit")
    for part in (
        str(path),
        hashlib.md5(evil).hexdigest(),
        mnist_cifar_files.CIFAR_BATCHES["data_batch_3"],
        "`data=ImageFolder`",
    ):
        assert part in str(caught.value)
    archive = cifar / "archive" / mnist_cifar_files.CIFAR_ARCHIVE.name
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz is not the published CIFAR-10 file"):
        CIFAR10(data_dir=str(cifar / "archive")).setup("fit")
    assert not canary.exists()


def test_even_with_a_right_sum_a_pickle_may_only_build_arrays(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = cifar / "canary"
    evil = pickle.dumps({b"data": _Bomb(canary), b"labels": []})
    (cifar / "folder" / "cifar-10-batches-py" / "test_batch").write_bytes(evil)
    monkeypatch.setitem(mnist_cifar_files.CIFAR_BATCHES, "test_batch", hashlib.md5(evil).hexdigest())
    with pytest.raises(UserError, match=r"test_batch does not hold CIFAR-10 images: it asks for builtins.exec"):
        CIFAR10(data_dir=str(cifar / "folder")).setup("test")
    assert not canary.exists()


def test_the_unpickler_reads_arrays_as_python_2_wrote_them() -> None:
    array = np.arange(600, dtype=np.uint8)
    modern = pickle.dumps({b"data": array, b"labels": [1, 2]}, protocol=3)
    content = bytearray(modern)
    # Python 2 had no bytes and no unicode opcodes: both are strings of the same layout there. And an older numpy.
    for opcode, _, position in pickletools.genops(modern):
        old = {"SHORT_BINBYTES": b"U", "BINBYTES": b"T", "BINUNICODE": b"T"}.get(opcode.name)
        if old is not None:
            assert position is not None
            content[position : position + 1] = old
    python2 = bytes(content).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert python2.count(b"numpy.core.multiarray") == 1
    loaded = mnist_cifar_files._ArrayUnpickler(io.BytesIO(python2), encoding="bytes").load()
    assert loaded[b"labels"] == [1, 2]
    assert np.array_equal(loaded[b"data"], array)


def test_digits_are_scikit_learns_scaled_to_bytes_and_enlarged() -> None:
    bunch = load_digits()
    data = Digits(batch_size=2000, image_size=8)
    data.setup("fit")
    data.setup("test")
    parts = {name: len(part.indices) for name, part in data._splits.items()}
    assert parts == {"train": 1259, "val": 179, "test": 359}
    seen = []
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        image, target, index = _all_batches(loader)
        assert np.array_equal(image[:, 0].numpy(), np.rint(bunch.images[index] / 16 * 255))
        assert target.tolist() == bunch.target[index].tolist()
        seen += index.tolist()
    assert sorted(seen) == list(range(1797))
    large = Digits()
    large.setup("test")
    image, _, index = _all_batches(large.test_dataloader())
    assert image.shape[1:] == (1, 28, 28)
    exact = torch.from_numpy(np.rint(bunch.images[index] / 16 * 255))[:, None].float()
    expected = torch.nn.functional.interpolate(exact, (28, 28), mode="bilinear")
    assert int((image.float() - expected).abs().max()) <= 1


@pytest.mark.parametrize("part", ["val", "test"])
def test_digit_classes_are_split_alike(part: str) -> None:
    data = Digits()
    data.setup("fit")
    source = data._split(part).source
    shares = torch.bincount(source.targets[data._split(part).indices]) / torch.bincount(source.targets)
    wanted = 0.2 if part == "test" else 0.1
    assert float((shares - wanted).abs().max()) < 0.005


def test_published_statistics_of_the_digits_are_those_of_the_data() -> None:
    data = Digits()
    pixels = data._source("digits").images.double() / 255
    assert abs(float(pixels.mean()) - Digits.MEAN[0]) < 5e-5
    assert abs(float(pixels.std(correction=0)) - Digits.STD[0]) < 5e-5


def test_resizing_and_channel_conversion_agree_with_pillow() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    images = torch.from_numpy(pictures)
    for size in (16, 48):
        out = to_shape(images, 3, size).int()
        for i in range(5):
            picture = Image.fromarray(pictures[i].transpose(1, 2, 0)).resize((size, size), Image.Resampling.BILINEAR)
            assert np.abs(out[i].numpy() - np.asarray(picture).transpose(2, 0, 1)).max() <= 1
    grey = to_shape(images, 1, 32)
    for i in range(5):
        luma = np.asarray(Image.fromarray(pictures[i].transpose(1, 2, 0)).convert("L")).astype(int)
        assert np.abs(grey[i, 0].numpy() - luma).max() <= 1
    assert torch.equal(to_shape(grey, 3, 32), grey.expand(-1, 3, -1, -1))


def test_a_set_too_large_to_keep_converted_gives_out_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Digits(image_size=40, channels=3)
    whole.setup("test")
    monkeypatch.setattr(array_source, "MAX_CONVERTED", 0)
    bit_by_bit = Digits(image_size=40, channels=3)
    bit_by_bit.setup("test")
    source = bit_by_bit._split("test").source
    assert isinstance(source, ArraySource)
    assert source.images.shape[1:] == (1, 8, 8)
    for a, b in zip(whole.test_dataloader(), bit_by_bit.test_dataloader(), strict=True):
        assert torch.equal(a.image, b.image)


def test_normalisation_published_imagenet_computed_and_given() -> None:
    assert Digits().preprocessing()["mean"] == list(Digits.MEAN)
    assert Digits(channels=3).preprocessing()["std"] == list(Digits.STD) * 3
    assert Digits(channels=3, normalize="imagenet").preprocessing()["mean"] == [0.485, 0.456, 0.406]
    assert Digits(normalize="imagenet").preprocessing()["mean"] == pytest.approx([0.449])
    assert Digits(mean=[0.5], std=[0.25]).preprocessing()["std"] == [0.25]
    data = Digits(normalize="computed", batch_size=2000)
    data.setup("fit")
    pixels = next(iter(data.train_dataloader())).image.numpy() / 255
    found = data.preprocessing()
    assert found["mean"] == pytest.approx([pixels.mean()], rel=1e-9)
    assert found["std"] == pytest.approx([pixels.std()], rel=1e-9)
    (image, _, _), raw = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0), data.val_dataloader()
    expected = (next(iter(raw)).image.double() / 255 - pixels.mean()) / pixels.std()
    torch.testing.assert_close(image.double(), expected, rtol=1e-5, atol=1e-6)


def test_grey_cifar_has_no_published_std_and_computes_its_own(cifar: Path) -> None:
    found = CIFAR10(data_dir=str(cifar / "folder"), channels=1).preprocessing()
    assert len(found["mean"]) == len(found["std"]) == 1
    assert 0.4 < found["mean"][0] < 0.6


def test_class_names_given_fix_the_indices_by_name() -> None:
    names = [str(i) for i in reversed(range(10))]
    data = Digits(class_names=names, batch_size=2000)
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    assert data.class_names == names
    assert batch.target.tolist() == [9 - i for i in load_digits().target[batch.index].tolist()]
    with pytest.raises(UserError, match=r"does not have: 3, 4, 5, 6, 7, 8, 9; data: 0, 1, .*; model: cat, 0, 1, 2"):
        Digits(class_names=["cat", *"012"]).setup("fit")


def test_fingerprints_distinguish_data_sets_and_do_not_change() -> None:
    prints = [data.fingerprint() for data in (Digits(), MNIST(), FashionMNIST(), CIFAR10())]
    assert len(set(prints)) == 4
    assert prints == [data.fingerprint() for data in (Digits(split_seed=1), MNIST(), FashionMNIST(), CIFAR10())]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "`data.batch_size` is 0"),
        ({"channels": 2}, "`data.channels` is 2"),
        ({"normalize": "best"}, "`data.normalize` is 'best'"),
        ({"mean": [0.5]}, "`data.mean` and `data.std` together"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, "`data.mean` has 3 .* 1 channel"),
        ({"eval_batch_size": 0}, "`data.eval_batch_size` is 0"),
        ({"image_size": 0}, "`data.image_size` is 0"),
        ({"workers": -1}, "`data.workers` is -1"),
        ({"class_names": ["a", "a"]}, "names a class twice"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Digits(**settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"batch_size": 4}, 16),  # four times
        ({"batch_size": 30}, 44),  # 359 test images in at least eight batches
        ({"batch_size": 100}, 100),  # never fewer than in training
        ({"batch_size": 4, "eval_batch_size": 7}, 7),
    ],
)
def test_evaluation_takes_more_images_at_once_the_same_for_any_number_of_processes(
    settings: dict[str, int], expected: int
) -> None:
    data = Digits(**settings)
    assert data.test_dataloader().batch_size == expected
    assert data.train_dataloader().batch_size == settings["batch_size"]


def test_augmentation_happens_in_training_only() -> None:
    data = Digits(augment=Augment(crop_padding=4, cutout=6))
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    pixels = batch.image.float() / 255
    out = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(out.image, (pixels - Digits.MEAN[0]) / Digits.STD[0], rtol=1e-4, atol=1e-5)
    assert out.image.dtype == torch.float32
    assert torch.equal(out.target, batch.target)
    assert torch.equal(out.index, batch.index)


def test_what_training_sees_in_every_epoch_is_decided_by_seed_epoch_and_sample() -> None:
    augment = Augment(crop_padding=2, cutout=2)
    data = Digits(batch_size=500, image_size=8, seed=9, augment=augment)
    model = Recorder(64, 10)
    make_trainer(max_epochs=2).fit(model, datamodule=data)
    source = data._split("train").source
    assert isinstance(source, ArraySource)
    mean, std = torch.tensor(Digits.MEAN), torch.tensor(Digits.STD)
    assert len(model.seen) == 6
    for epoch, _, index, digests in model.seen:
        rows = torch.tensor(index)
        images = augment_batch(source.images[rows], rows, augment=augment, seed=9, epoch=epoch, mean=mean, std=std)
        assert [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images] == digests
    order = data._split("train").indices[permutation(9, 1, 1259)].tolist()
    assert [i for epoch, _, index, _ in model.seen if epoch == 1 for i in index] == order
