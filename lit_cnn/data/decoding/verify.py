"""Scan for unreadable image files: decode every file once, and cache the verdict until the file changes."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lit_cnn.data.decoding.decode import check_image
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display
from lit_cnn.utils.files import atomic_write, cache_folder, digest

log = logging.getLogger(__name__)

_SCAN_VERSION = 3  # raise it when verdicts of check_image change
_AT_ONCE = 1024  # files submitted to the threads; millions would take gigabytes of pending tasks
_SAVE_SECONDS = 60.0  # the most that a killed scan loses
# Size, modification time in ns, and the reason why a file is unreadable; a size of -1: check again next time.
Verdict = tuple[int, int, str | None]


def find_broken(
    root: Path,
    paths: Sequence[str],
    max_pixels: int,
    workers: int,
    display: Display | None = None,
    geometry: Geometry | None = None,
) -> dict[str, str]:
    """Decode every image file once and return the unreadable ones: path to reason, in the given order.

    Verdicts are cached by path, size and modification time, so a file is decoded again only after a change; those of an
    interrupted scan too. A cache that cannot be read or written only costs time.

    Args:
        root: Folder that the paths are relative to.
        paths: Of the files.
        max_pixels: Files whose header claims more count as unreadable.
        workers: Decoding threads.
        display: Shows progress once the scan takes half a second; None: no progress.
        geometry: Channels and value range, where these decide whether a file can be read; None: photos.

    Raises:
        UserError: This process is out of memory or file handles.
    """
    saved: Path | None = None
    with contextlib.suppress(UserError):  # no folder for caches
        saved = cache_folder() / "scan" / f"{digest(root.resolve())}.json"
    key: list[object] = [_SCAN_VERSION, max_pixels]
    if geometry is not None:
        key += [geometry.channels, str(geometry.value_range)]
    known = _load(saved, key)
    found: dict[str, Verdict] = {}

    def check(path: str) -> str | None:
        try:
            stat = (root / path).stat()
            size, changed = stat.st_size, stat.st_mtime_ns
        except OSError:  # such as a dangling link: check_image gives the reason
            size, changed = -1, -1
        verdict = known.get(path)
        if verdict is None or verdict[:2] != (size, changed):
            reason, lasting = check_image(root / path, max_pixels, *(() if geometry is None else (geometry,)))
            verdict = (size if lasting else -1), changed, reason
        found[path] = verdict
        return verdict[2]

    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="lit_cnn-scan")
    next_show, next_save = time.monotonic() + 0.5, time.monotonic() + _SAVE_SECONDS
    done, bad = 0, 0
    try:
        for first in range(0, len(paths), _AT_ONCE):
            for reason in pool.map(check, paths[first : first + _AT_ONCE]):
                done, bad = done + 1, bad + (reason is not None)
                now = time.monotonic()
                if display is not None and now >= next_show:
                    display.show("checking images", done, len(paths), f"{bad} cannot be read")
                    next_show = now + 0.2
                if now >= next_save:
                    _save(saved, key, {**known, **found})
                    next_save = time.monotonic() + _SAVE_SECONDS
    except BaseException:
        pool.shutdown(cancel_futures=True)  # threads end after their current image
        _save(saved, key, {**known, **found})
        raise
    finally:
        pool.shutdown()
        if display is not None:
            display.close()
    if found != known:
        _save(saved, key, found)
    return {path: reason for path in paths if (reason := found[path][2]) is not None}


def _load(path: Path | None, key: list[object]) -> dict[str, Verdict]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] == key:
            return {name: (size, changed, reason) for name, (size, changed, reason) in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


def _save(path: Path | None, key: list[object], verdicts: dict[str, Verdict]) -> None:
    """Write the lasting verdicts, atomically."""
    if path is None:
        return
    kept = {name: verdict for name, verdict in verdicts.items() if verdict[0] >= 0}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            json.dump({"version": key, "files": kept}, file)
    except OSError as error:
        log.info("results of the scan could not be saved to %s: %s", path, error)
