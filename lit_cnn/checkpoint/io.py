"""Atomic checkpoint files: a reader finds the old file or the complete new one, never a part."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lit_cnn.checkpoint.diff import content_hash
from lit_cnn.checkpoint.record import HASH, KEY, load_verified
from lit_cnn.errors import CheckpointWriteError, UserError
from lit_cnn.utils.files import sync_folder

PARTIAL = ".partial"  # ends the hidden names of files that are being written


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write to a temporary file in the same folder, flush it to the disk, read it back, then rename it.

    Lightning's own goes through the system's temporary folder, which may be another filesystem: its last step is then
    a copy, and a kill or a full disk in the middle of it leaves a truncated file under the final name.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folders: set[Path] = set()  # that were there once

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Save, or raise and leave the earlier file.

        Raises:
            CheckpointWriteError: when the folder is gone or cannot be written, the disk is full, what was written does
                not read back the same, or the checkpoint holds objects that only code could restore.
        """
        target = Path(path)
        partial: Path | None = None
        if KEY in checkpoint:
            checkpoint[KEY].pop(HASH, None)
            checkpoint[KEY][HASH] = content_hash(checkpoint)
        try:
            self._prepare(target.parent)
            # hidden, so that nothing takes it for a checkpoint
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=PARTIAL)
            partial = Path(name)
            _write(checkpoint, handle)
            load_verified(partial)
            partial.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
            partial.replace(target)
            sync_folder(target.parent)
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
            raise CheckpointWriteError(
                f"cannot write the checkpoint {target}: {reason}; earlier checkpoints are unchanged"
            ) from error
        except UserError as error:
            reason = str(error).replace(str(partial), "what was written")
            raise CheckpointWriteError(f"cannot keep the checkpoint {target}: {reason}") from error
        finally:
            if partial is not None:
                with contextlib.suppress(OSError):  # gone after the rename; on an error the first cause matters more
                    partial.unlink()

    def _prepare(self, folder: Path) -> None:
        """Make the folder the first time; if it is missing later, somebody removed the run."""
        if folder in self._folders and not folder.is_dir():
            raise FileNotFoundError(0, "its folder is gone: it was moved or removed during the run")
        folder.mkdir(parents=True, exist_ok=True)
        self._folders.add(folder)


class _ErrorKeepingFile(io.FileIO):
    """A file that keeps the system's reason for a failed write, which torch forgets."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """As ``io.FileIO.write``."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def _write(checkpoint: dict[str, Any], handle: int) -> None:
    raw = _ErrorKeepingFile(handle, "wb")
    try:
        with io.BufferedWriter(raw) as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError:
        if raw.error is not None:
            raise raw.error from None
        raise


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed process was writing; to be called when no other one writes there."""
    for path in folder.glob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError):  # a leftover does no harm
            path.unlink()


def _umask() -> int:
    """The process's file-mode mask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
