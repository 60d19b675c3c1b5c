"""The published files of MNIST and CIFAR-10: found, verified before reading, read without running code."""

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

from lit_cnn.data import CIFAR10, MNIST, FashionMNIST, mnist_cifar_files
from lit_cnn.data.array_source import ArraySource
from lit_cnn.errors import UserError
from lit_cnn.utils.download import PublishedFile

from .helpers import concatenate_batches


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


def test_mnist_gives_out_the_pixels_and_labels_of_the_files(idx_files: dict[str, np.ndarray], tmp_path: Path) -> None:
    data = MNIST(data_dir=str(tmp_path), batch_size=6)
    data.setup("test")
    image, target, index = concatenate_batches(data.test_dataloader())
    assert np.array_equal(image[:, 0].numpy(), idx_files["t10k-images-idx3-ubyte.gz"])
    assert target.tolist() == idx_files["t10k-labels-idx1-ubyte.gz"].tolist()
    assert index.tolist() == list(range(20))
    assert data.sample_name("test", 3) == "test/3"
    data.setup("fit")
    image, target, index = concatenate_batches(data.val_dataloader())
    assert np.array_equal(image[:, 0].numpy(), idx_files["train-images-idx3-ubyte.gz"][index.numpy()])
    assert torch.bincount(target).tolist() == [1] * 10
    trained = concatenate_batches(data.train_dataloader())[2]
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
    assert len(concatenate_batches(data.test_dataloader())[0]) == 20


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
    image, target, _ = concatenate_batches(data.test_dataloader())
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


def test_grey_cifar_has_no_published_std_and_computes_its_own(cifar: Path) -> None:
    found = CIFAR10(data_dir=str(cifar / "folder"), channels=1).preprocessing()
    assert len(found["mean"]) == len(found["std"]) == 1
    assert 0.4 < found["mean"][0] < 0.6
