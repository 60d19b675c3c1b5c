"""Telling broken pictures by decoding every one once, with verdicts that are kept until a file changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lit_cnn.data.decoding.decode import check_image
from lit_cnn.utils.console import Display

log = logging.getLogger(__name__)

_SCAN_VERSION = 2  # raise it when check_image comes to other verdicts
_AT_ONCE = 1024  # pictures handed to the threads; millions would take gigabytes of waiting tasks
_SAVE_SECONDS = 60.0  # what a killed scan may lose
# Size, time of change in ns, and the reason a picture is broken; a size of -1: ask again next time.
Verdict = tuple[int, int, str | None]


def cache_folder() -> Path:
    """Return where verdicts are kept: $LIT_CNN_CACHE or ~/.cache/lit_cnn."""
    return Path(os.environ.get("LIT_CNN_CACHE") or Path.home() / ".cache" / "lit_cnn")


def find_broken(
    root: Path, paths: Sequence[str], max_pixels: int, workers: int, display: Display | None = None
) -> dict[str, str]:
    """Decode every picture once and return the broken ones with the reason, in the order given.

    Verdicts are kept in the cache folder by path, size and time of change, so a picture is decoded again only when it
    changed; also those of a scan that is interrupted. A cache that cannot be read or written costs time, nothing else.

    Args:
        root: Folder the paths are relative to.
        paths: Of the pictures.
        max_pixels: Pictures whose header claims more are broken.
        workers: Decoding threads.
        display: Where to show progress once the scan takes half a second; None: nowhere.

    Raises:
        UserError: This process is short of memory or of file handles.
    """
    store = cache_folder() / "scan" / f"{_name(root)}.json"
    known = _load(store, max_pixels)
    found: dict[str, Verdict] = {}

    def check(path: str) -> str | None:
        try:
            stat = (root / path).stat()
            size, changed = stat.st_size, stat.st_mtime_ns
        except OSError:  # a link that leads nowhere, for one: check_image says so
            size, changed = -1, -1
        verdict = known.get(path)
        if verdict is None or verdict[:2] != (size, changed):
            reason, lasting = check_image(root / path, max_pixels)
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
                    display.show("scan", "checking images", done, len(paths), f"{bad} cannot be read")
                    next_show = now + 0.2
                if now >= next_save:
                    _save(store, max_pixels, {**known, **found})
                    next_save = time.monotonic() + _SAVE_SECONDS
    except BaseException:
        pool.shutdown(cancel_futures=True)  # the threads end after the image in hand
        _save(store, max_pixels, {**known, **found})
        raise
    finally:
        pool.shutdown()
        if display is not None:
            display.close()
    if found != known:
        _save(store, max_pixels, found)
    return {path: reason for path in paths if (reason := found[path][2]) is not None}


def _name(root: Path) -> str:
    return hashlib.blake2b(str(root.resolve()).encode(errors="surrogateescape"), digest_size=8).hexdigest()


def _load(store: Path, max_pixels: int) -> dict[str, Verdict]:
    try:
        content = json.loads(store.read_text(encoding="utf-8"))
        if content["version"] == [_SCAN_VERSION, max_pixels]:
            return {path: (size, changed, reason) for path, (size, changed, reason) in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


def _save(store: Path, max_pixels: int, verdicts: dict[str, Verdict]) -> None:
    """Write the verdicts that last beside ``store`` and rename: it is complete or as before."""
    kept = {path: verdict for path, verdict in verdicts.items() if verdict[0] >= 0}
    part = ""
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=store.parent, delete=False, encoding="utf-8") as file:
            part = file.name
            json.dump({"version": [_SCAN_VERSION, max_pixels], "files": kept}, file)
        os.replace(part, store)  # noqa: PTH105 (the atomic one, by its own name)
    except OSError as error:
        log.info("verdicts on pictures could not be kept in %s: %s", store, error)
        with contextlib.suppress(OSError):
            os.unlink(part)  # noqa: PTH108
