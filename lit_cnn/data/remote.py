"""Image folders at an address (``s3://``, ``gs://``, ``https://``, ``hf://``, any protocol of fsspec): a local mirror.

The image files at the address are listed, and those that are missing here or have changed are fetched into a folder of
the cache. All else, from class folders to exact resume, works on that folder. Every file is written under another name
and renamed, and ``index.json``, which has the size and version of each, is written last. A file lock lets one process
of a machine fetch while the others wait; what it has just fetched they do not ask for again. Without the network the
mirror of an earlier run is used.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lit_cnn.data.decoding.find import is_image_name
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display, say
from lit_cnn.utils.files import atomic_write, cache_folder, digest, file_lock
from lit_cnn.utils.rank import PARENT, is_rank_zero

_AT_ONCE = 8  # files fetched at a time
_FRESH = 60.0  # seconds: ranks that start together ask for the list once
_LOCAL = ("file", "local")
# What tells versions of a file apart, by filesystem; the first that is there.
_VERSIONS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "content_md5", "blob_id"),
    *("Last-Modified", "LastModified", "last_modified", "mtime", "modified", "created"),
)
_STARTED = time.time()
_mirrored: dict[str, Path] = {}  # by address, of this process


def is_address(data_dir: str) -> bool:
    """Whether the setting ``data_dir`` is an address and not a folder."""
    return "://" in data_dir


def local_folder(data_dir: str) -> Path:
    """Return ``data_dir`` as a folder of this machine; of an address the mirror, which is brought up to date.

    Raises:
        UserError: Nothing is there, it cannot be reached and there is no mirror, or a package is missing.
    """
    protocol, separator, path = data_dir.partition("://")
    if not separator:
        return Path(data_dir)
    if protocol in _LOCAL:
        return Path(unquote(path))
    address = data_dir.rstrip("/")
    if address not in _mirrored:
        _mirrored[address] = _mirror(address)
    return _mirrored[address]


def filesystem(address: str) -> tuple[Any, str]:
    """Return fsspec's filesystem for an address, and the path in it.

    Raises:
        UserError: The protocol is unknown, or its package is not installed.
    """
    import fsspec  # takes a moment, and only addresses need it

    if "::" in address:
        raise UserError(f"{address}: give an address without ::")
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(address)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{address}: {reason}: pip install 'lit-cnn[remote]'") from error
    except Exception as error:  # an unknown protocol, or whatever a filesystem raises as it connects
        raise UserError(f"{address}: {reason_of(error)}") from error
    return found


def reason_of(error: BaseException) -> str:
    """Return in a few words why something cannot be fetched."""
    if _is_missing(error):
        return "it is missing, or not public"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError):
        error = error.__cause__ or error
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def _is_missing(error: BaseException) -> bool:
    """Whether a server has answered that something is not there; fsspec says so of unreachable servers too."""
    unreachable = isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError)
    return isinstance(error, FileNotFoundError) and not unreachable


def _mirror(address: str) -> Path:
    folder = cache_folder() / "remote" / digest(address)
    files, index = folder / "files", folder / "index.json"
    try:
        with file_lock(folder / "lock"):
            known = _read_index(index)
            if known["complete"] and _fetched_by_another_rank(known["time"]):
                return files
            try:
                fs, root = filesystem(address)
                listed, others = _list(fs, root, address)
            except UserError:
                raise
            except Exception as error:  # whatever a filesystem of fsspec raises
                if not known["complete"] or _is_missing(error):
                    raise UserError(f"cannot list {address}: {reason_of(error)}") from error
                say(f"note: cannot list {address} ({reason_of(error)}): using the copy in {files}", error=True)
                return files
            if others:
                say(f"{address}: {others:,} files that are no images are not fetched")
            _update(fs, address, files, index, listed, known["files"])
    except OSError as error:
        raise UserError(
            f"cannot keep {address} in {folder}: {error.strerror or error}; make room, or set LIT_CNN_CACHE to another "
            "folder"
        ) from error
    return files


def _fetched_by_another_rank(when: float) -> bool:
    """Whether a mirror of that time is one that another rank of this run has brought up to date."""
    together = any(name in os.environ for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"))
    return PARENT in os.environ or (together and when >= _STARTED - _FRESH)


def _read_index(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"complete": bool(found["complete"]), "time": float(found["time"]), "files": dict(found["files"])}
    return {"complete": False, "time": 0.0, "files": {}}


def _write_index(path: Path, files: dict[str, list[Any]], complete: bool) -> None:
    with atomic_write(path) as file:
        json.dump({"complete": complete, "time": time.time(), "files": files}, file)


def _list(fs: Any, root: str, address: str) -> tuple[dict[str, tuple[str, list[Any]]], int]:
    """Return the image files at an address, by relative path: the path there, size and version; and how many others.

    The address of an image file is that of a folder which holds only it.
    """
    if is_image_name(root.rpartition("/")[2]):
        return {unquote(root.rpartition("/")[2]): (root, _version(fs, root, {}))}, 0
    found: dict[str, tuple[str, list[Any]]] = {}
    others, top = 0, root.rstrip("/") + "/"
    entries = _find(fs, root)
    names = {str(path)[len(top) :] for path in entries if str(path).startswith(top)}
    if {"manifest.json", "index.npz"} <= names:
        raise UserError(f"{address} holds shards: use `data=Stream`")
    web = top.startswith(("http://", "https://"))
    for path, info in entries.items():
        name = str(path)[len(top) :]
        name = unquote(name) if web else name
        parts = name.split("/")
        if not str(path).startswith(top) or not is_image_name(parts[-1]) or any(p.startswith(".") for p in parts):
            others += 1
        elif "" in parts or "\\" in name or ":" in name or "\0" in name:
            raise UserError(f"{address}: {name!r} cannot be a file's name here: rename it")
        else:
            found[name] = (str(path), info)
    if not found:
        raise UserError(f"{address}: no image files there, {others:,} others; give a folder of class folders")
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lit_cnn-remote") as pool:
        versions = dict(zip(found, pool.map(lambda item: _version(fs, *item), found.values()), strict=True))
    return {name: (found[name][0], versions[name]) for name in found}, others


def _find(fs: Any, root: str) -> dict[str, Any]:
    """Return all files below ``root`` with what is known of them.

    Raises:
        OSError: A folder cannot be listed. fsspec's own search would leave it out without a word.
    """
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    kind = type(fs)
    walks = kind._find is AsyncFileSystem._find if hasattr(kind, "_find") else kind.find is AbstractFileSystem.find
    found: dict[str, Any] = fs.find(root, detail=True, **({"on_error": "raise"} if walks else {}))
    return found


def _version(fs: Any, path: str, info: dict[str, Any]) -> list[Any]:
    """Size and version of a file, as plain types; over http a listing has neither."""
    if info.get("size") is None:
        info = fs.info(path)
    return [info.get("size"), next((str(info[key]) for key in _VERSIONS if info.get(key) is not None), "")]


def _update(
    fs: Any,
    address: str,
    files: Path,
    index: Path,
    listed: dict[str, tuple[str, list[Any]]],
    known: dict[str, list[Any]],
) -> None:
    """Fetch what is missing or has changed, and remove what is gone."""
    have = {name: known[name] for name in listed if known.get(name) == listed[name][1] and (files / name).is_file()}
    wanted = [name for name in listed if name not in have]
    for leftover in files.rglob(".*.partial"):  # of a killed process
        leftover.unlink(missing_ok=True)
    if wanted:
        say(f"fetching {len(wanted):,} of {len(listed):,} images from {address} into {files}")
    try:
        for name in _fetched(fs, address, files, {name: listed[name] for name in wanted}):
            have[name] = listed[name][1]
    except BaseException:
        _write_index(index, have, complete=False)  # the next run goes on from here
        raise
    for path in files.rglob("*"):
        if path.is_file() and path.relative_to(files).as_posix() not in listed:
            path.unlink()
    for path in sorted((path for path in files.rglob("*") if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()
    _write_index(index, have, complete=True)


def _fetched(fs: Any, address: str, files: Path, wanted: dict[str, tuple[str, list[Any]]]) -> Iterator[str]:
    """Fetch files, and yield the name of each that is complete."""
    display = Display() if is_rank_zero() else None
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lit_cnn-remote")
    next_show = time.monotonic() + 0.5
    try:
        fetch: Callable[[str], str] = lambda name: _fetch(fs, address, files / name, name, *wanted[name])  # noqa: E731
        for done, name in enumerate(pool.map(fetch, wanted), start=1):
            yield name
            if display is not None and time.monotonic() >= next_show:
                display.show("fetching images", done, len(wanted))
                next_show = time.monotonic() + 0.2
    finally:
        pool.shutdown(cancel_futures=True)
        if display is not None:
            display.close()


def _fetch(fs: Any, address: str, target: Path, name: str, path: str, version: list[Any]) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target, "wb") as file:
        try:
            fs.get_file(path, file.name)
        except Exception as error:  # whatever a filesystem of fsspec raises
            raise UserError(f"cannot fetch {address}/{name}: {reason_of(error)}; start again to go on") from error
        size = Path(file.name).stat().st_size
        if version[0] is not None and size != version[0]:
            raise UserError(f"{address}/{name} has {size:,} bytes instead of {version[0]:,}: start again to fetch it")
    return name
