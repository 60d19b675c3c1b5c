"""Read idx files (MNIST, Fashion-MNIST) and CIFAR-10's pickled batches, with their checksums verified first."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_cnn.errors import UserError
from lit_cnn.utils.download import PublishedFile
from lit_cnn.utils.files import file_checksum

_IDX_NAMES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@dataclass(frozen=True)
class IdxFile:
    """A published idx file: its gzip archive, and the SHA-256 of the contents.

    Debian and others compress the same contents again, so reading verifies the contents.
    """

    archive: PublishedFile
    sha256: str


def _idx(mirrors: tuple[str, ...], sums: tuple[tuple[str, str], ...]) -> dict[str, tuple[IdxFile, IdxFile]]:
    files = []
    for name, (md5, sha256) in zip(_IDX_NAMES, sums, strict=True):
        archive = f"{name}-ubyte.gz"
        files.append(IdxFile(PublishedFile(archive, tuple(mirror + archive for mirror in mirrors), md5=md5), sha256))
    return {"train": (files[0], files[1]), "test": (files[2], files[3])}


# Per file: MD5 of the archive as published, SHA-256 of its contents.
MNIST_FILES = _idx(
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    (
        ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        ("d53e105ee54ea40749a09fcbcd1e9432", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        ("9fb629c4189551a2d022fa330f9573f3", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        ("ec29112dd5afa0611ce80d1b7f02629c", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
)
FASHION_MNIST_FILES = _idx(
    (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    (
        ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        ("25c81989df183df01b3e8a0aad5dffbe", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        ("bef4ecab320f06d8554ea6380940ec79", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        ("bb300cfdad3c16e7a12a480ee83cd310", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
)
CIFAR_ARCHIVE = PublishedFile(
    "cifar-10-python.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    md5="c58f30108f718f92721af3b95e74349a",
)
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def find_idx(name: str, folders: Iterable[Path]) -> Path | None:
    """Return the first file called ``name`` (``...-idx3-ubyte.gz``) or its unpacked form, or None."""
    plain = name.removesuffix(".gz")
    for folder in folders:
        for candidate in (name, plain, plain.replace("-idx", ".idx")):  # with a dot on Kaggle
            if (folder / candidate).is_file():
                return folder / candidate
    return None


def read_idx(path: Path, sha256: str, dims: int) -> np.ndarray:
    """Read an idx file of unsigned bytes into a uint8 array of ``dims`` dimensions.

    Args:
        path: The file, gzipped if it ends in ``.gz``.
        sha256: Expected checksum of the (uncompressed) contents.
        dims: Expected number of dimensions.

    Raises:
        UserError: Damaged, wrong checksum, or not an idx file of that kind; the message names the file.
    """
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"cannot unpack {path}: {error}; replace it") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise UserError(
            f"{path} does not hold the published data (sha256 of its contents {found}, expected {sha256}): replace it, "
            f"or put its images in class folders and use `data=ImageFolder`"
        )
    header = 4 + 4 * dims
    shape = tuple(np.frombuffer(data[4:header], dtype=">u4").tolist())
    # Magic number: two zero bytes, 8 for unsigned bytes, the number of dimensions.
    if data[:4] != bytes((0, 0, 8, dims)) or len(shape) != dims or len(data) - header != int(np.prod(shape)):
        raise UserError(f"{path} is not a complete idx file of unsigned bytes in {dims} dimensions: replace it")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape).copy()


def find_cifar(folders: Iterable[Path]) -> Path | None:
    """Return the first CIFAR-10 archive or extracted folder, or None; a folder may also be the extracted one itself."""
    for folder in folders:
        if (folder / CIFAR_FOLDER).is_dir():
            return folder / CIFAR_FOLDER
        if (folder / "data_batch_1").is_file():
            return folder
        if (folder / CIFAR_ARCHIVE.name).is_file():
            return folder / CIFAR_ARCHIVE.name
    return None


class _ArrayUnpickler(pickle.Unpickler):
    """Restores NumPy arrays and plain containers, and calls nothing else."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),  # as the official files spell it
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        if name == "_reconstruct":
            return np.empty(0).__reduce__()[0]  # wherever this numpy keeps it
        return getattr(np, name)


def _mismatch(what: str, found: str, expected: str) -> UserError:
    return UserError(
        f"{what} is not the published CIFAR-10 file (md5 {found}, expected {expected}); as it holds pickled data it is "
        f"not opened: replace it, or use the images in class folders with `data=ImageFolder` and `data.image_size=32`"
    )


def _cifar_members(path: Path, names: list[str]) -> dict[str, bytes]:
    """Return the verified bytes of the named batches, from the archive or the folder."""
    if path.is_dir():
        missing = [name for name in names if not (path / name).is_file()]
        if missing:
            raise UserError(f"{path} lacks {', '.join(missing)}: unpack {CIFAR_ARCHIVE.name} again")
        members = {name: (path / name).read_bytes() for name in names}
    else:
        found = file_checksum(path, "md5")
        if found != CIFAR_ARCHIVE.md5:
            raise _mismatch(str(path), found, CIFAR_ARCHIVE.md5)
        members = {}
        with tarfile.open(path) as tar:  # read, not unpacked: nothing is written
            for member in tar:
                name = member.name.removeprefix(f"{CIFAR_FOLDER}/")
                file = tar.extractfile(member) if name in names else None
                if file is not None:
                    members[name] = file.read()
    for name, data in members.items():
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if found != CIFAR_BATCHES[name]:
            raise _mismatch(str(path / name), found, CIFAR_BATCHES[name])
    return members


def read_cifar(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read "train" or "test" of CIFAR-10 from the archive or the extracted folder.

    The published MD5 of every file is verified before it is unpickled, by an unpickler that allows only arrays.

    Returns:
        uint8 (N, 3, 32, 32) and int64 (N,).

    Raises:
        UserError: A checksum is wrong (the message has the file and both), or the contents are not CIFAR-10's.
    """
    names = [name for name in CIFAR_BATCHES if name.startswith("test") == (split == "test")]
    members = _cifar_members(path, names)
    images, labels = [], []
    for name in names:
        try:
            batch = _ArrayUnpickler(io.BytesIO(members[name]), encoding="bytes").load()
            images.append(np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32))
            labels.append(np.asarray(batch[b"labels"], dtype=np.int64))
        except (pickle.UnpicklingError, KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path / name} does not hold CIFAR-10 images: {error}; replace it") from error
    return np.concatenate(images), np.concatenate(labels)
