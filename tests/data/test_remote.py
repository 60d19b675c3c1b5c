"""Image folders at an address: mirrored once, changes followed, complete or resumed, usable offline."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from lit_cnn.cli.data_argument import choose_data
from lit_cnn.data import ImageFolder, Stream, remote
from lit_cnn.data.images import Images
from lit_cnn.errors import UserError
from lit_cnn.utils.rank import PARENT

from .helpers import Recorder, image_folder, make_trainer

Make = Callable[..., Path]
ADDRESS = "memory://bucket/photos"


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(remote, "_mirrored", {})
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", PARENT):
        monkeypatch.delenv(name, raising=False)
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def photos(make_folder: Make) -> Path:
    root = make_folder({"cat": 9, "dog": 10})
    (root / "notes.txt").write_text("no image")
    fsspec.filesystem("memory").put(f"{root}/", "/bucket/photos", recursive=True)
    return root


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files fetched from memory."""
    names: list[str] = []
    real = MemoryFileSystem.get_file

    def get_file(self: Any, rpath: str, lpath: str, **kwargs: Any) -> Any:
        names.append(rpath.removeprefix("/bucket/photos/"))
        return real(self, rpath, lpath, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
    return names


def again(address: str = ADDRESS) -> Path:
    """The mirror as another process finds it."""
    remote._mirrored.clear()
    return remote.local_folder(address)


def test_an_address_gives_the_run_of_the_folder_and_is_what_a_checkpoint_holds(photos: Path) -> None:
    runs = []
    for where in (str(photos), ADDRESS, f"file://{photos}"):
        data, model = image_folder(Path("x")), Recorder(3 * 16 * 16, 2)
        data.data_dir = where
        data.hparams["data_dir"] = where
        make_trainer(max_epochs=2).fit(model, datamodule=data)
        runs.append((model.seen, data.fingerprint(), [data.sample_name("train", i) for i in range(3)]))
    assert runs[0] == runs[1] == runs[2]
    assert ImageFolder(data_dir=ADDRESS).data_dir == ADDRESS


def test_only_images_are_fetched_and_only_once(photos: Path, fetched: list[str]) -> None:
    folder = again()
    assert len(fetched) == 19
    assert not (folder / "notes.txt").exists()
    assert again() == folder
    assert len(fetched) == 19


def test_a_changed_file_is_fetched_again_and_a_removed_one_is_removed(photos: Path, fetched: list[str]) -> None:
    folder = again()
    fetched.clear()
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/photos/cat/000.png", (photos / "dog" / "001.png").read_bytes())
    memory.rm("/bucket/photos/dog/002.png")
    memory.rm("/bucket/photos/dog/003.png")
    again()
    assert fetched == ["cat/000.png"]
    assert (folder / "cat" / "000.png").read_bytes() == (photos / "dog" / "001.png").read_bytes()
    assert len(list((folder / "dog").iterdir())) == 8


def test_an_interrupted_mirror_is_not_used_and_goes_on_where_it_stopped(
    photos: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = remote._fetch

    def breaking(*args: Any) -> str:
        if args[3] == "dog/005.png":
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(remote, "_fetch", breaking)
    with pytest.raises(KeyboardInterrupt):
        again()
    monkeypatch.setattr(remote, "_fetch", real)
    monkeypatch.setenv(PARENT, "1")  # not even by another rank
    already = len(fetched)
    folder = again()
    assert "dog/005.png" in fetched[already:]
    assert len(fetched) - already < 19
    assert len(list(folder.rglob("*.png"))) == 19


def test_without_the_network_the_copy_is_used_and_told(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = again()

    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(MemoryFileSystem, "find", offline)
    assert again() == folder
    assert f"cannot list {ADDRESS} (network is unreachable): using the copy in" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"cannot list memory://other: network is unreachable"):
        again("memory://other")


def test_other_ranks_use_what_one_has_fetched_and_do_not_ask_again(
    photos: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")  # started with rank 0, and first
    folder = again()
    monkeypatch.setattr(MemoryFileSystem, "find", None)
    assert again() == folder
    monkeypatch.setattr(remote, "_STARTED", remote._STARTED + 1e6)
    monkeypatch.setenv(PARENT, "1")
    assert again() == folder


def test_a_file_cut_off_on_the_way_never_gets_its_name(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(self: Any, rpath: str, lpath: str, **kwargs: Any) -> None:
        Path(lpath).write_bytes(b"half")

    monkeypatch.setattr(MemoryFileSystem, "get_file", short)
    with pytest.raises(UserError, match=r"has 4 bytes instead of .*: start again to fetch it"):
        again()
    assert not list(remote.cache_folder().rglob("*.png"))


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("memory://nothing/here", "no image files there"),
        ("nonsense://bucket", "(?i)nonsense"),
        ("zip://a::http://127.0.0.1:9/b.zip", "without ::"),
        ("http://127.0.0.1:9/photos", "cannot list http://127.0.0.1:9/photos: "),
    ],
)
def test_what_is_not_there_is_one_line(address: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        again(address)
    assert "\n" not in str(error.value)


def test_a_server_that_cannot_be_reached_is_not_said_to_have_nothing() -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(UserError, match=r"cannot list http://127\.0\.0\.1:1/x\.jpg: Cannot connect to host"):
        Images(paths=["http://127.0.0.1:1/x.jpg"]).all_paths()


def test_a_protocol_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **kwargs: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(UserError, match=r"Install s3fs to access S3: pip install 'lit-cnn\[remote\]'"):
        again("s3://bucket/photos")


def test_names_that_lead_out_of_the_folder_are_never_written(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryFileSystem.find

    def find(self: Any, path: str, **kwargs: Any) -> dict[str, Any]:
        return {**real(self, path, **kwargs), f"{path}/../../evil.png": {"size": 3}, "/other/evil.png": {"size": 3}}

    monkeypatch.setattr(MemoryFileSystem, "find", find)
    assert "evil.png" not in {path.name for path in again().parent.parent.rglob("*")}


@pytest.fixture
def served(photos: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(photos.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/set"
        server.shutdown()
        thread.join()


def test_a_web_server_that_lists_its_folders_is_mirrored(photos: Path, served: str) -> None:
    (photos / "cat" / "a b%20é.png").write_bytes((photos / "cat" / "000.png").read_bytes())
    folder = again(served)
    names = {path.relative_to(photos).as_posix() for path in photos.rglob("*.png")}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")} == names
    assert all((folder / name).read_bytes() == (photos / name).read_bytes() for name in names)
    (photos / "cat" / "000.png").unlink()
    assert not (again(served) / "cat" / "000.png").exists()


def test_shards_at_an_address_are_told_from_photos() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("manifest.json", "index.npz"):
        memory.pipe(f"/shards/{name}", b"{}")
    with pytest.raises(UserError, match="holds shards: use `data=Stream`"):
        again("memory://shards")
    with pytest.raises(UserError, match=r"memory://shards/manifest\.json is damaged"):
        _ = Stream(data_dir="memory://shards").class_names


def test_the_command_line_takes_an_address_for_a_folder() -> None:
    from lit_cnn.cli.argv import parse

    for words in (["fit", "s3://bucket/photos"], ["fit", "--data-dir=s3://bucket/photos"]):
        arguments = parse(words)
        assert choose_data(arguments, None) == "ImageFolder"
        assert ("--data.data_dir", "s3://bucket/photos") in arguments.flags


def test_images_to_predict_may_be_at_an_address_a_folder_or_one_file(photos: Path) -> None:
    cats = sorted(path.name for path in (photos / "cat").iterdir())
    dog, cat = sorted((photos / "dog").iterdir())[0].name, photos / "cat" / cats[1]
    data = Images(paths=[ADDRESS, f"{ADDRESS}/dog/{dog}", str(cat)], image_size=8)
    data.setup("predict")
    names = [data.sample_name("predict", i) for i in range(21)]
    assert names[:9] == [f"{ADDRESS}/cat/{name}" for name in cats]
    assert names[19:] == [f"{ADDRESS}/dog/{dog}", str(cat)]
    assert len(next(iter(data.predict_dataloader())).image) == 21


def test_an_image_that_is_not_at_its_address_is_one_line(photos: Path) -> None:
    with pytest.raises(UserError, match=r"cannot list memory://bucket/photos/dog/99.jpg: it is missing"):
        Images(paths=[f"{ADDRESS}/dog/99.jpg"]).all_paths()
