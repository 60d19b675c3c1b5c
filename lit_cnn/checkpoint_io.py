"""Checkpoint files that cannot be torn: a reader finds the old file or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lit_cnn.errors import UserError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write to a temporary file in the same folder, flush it to the disk, check it, then rename it.

    Lightning's own goes through the system's temporary folder, which may be another filesystem: its last step is then
    a copy, and a kill or a full disk in the middle of it leaves a cut file under the final name.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Save, or raise and leave what was there.

        Raises:
            UserError: when the folder cannot be written, the disk is full, or what was written reads back damaged.
        """
        target = Path(path)
        partial: Path | None = None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # hidden, so that nothing takes it for a checkpoint
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
            partial = Path(name)
            with os.fdopen(handle, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            with zipfile.ZipFile(partial) as archive:  # every record carries a checksum
                if (damaged := archive.testzip()) is not None:
                    raise UserError(f"{target}: what was written reads back damaged ({damaged}): check the disk")
            partial.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
            partial.replace(target)
            _sync_folder(target.parent)
        except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError when a write fails
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
            raise UserError(
                f"cannot write the checkpoint {target}: {reason}; earlier checkpoints are as they were"
            ) from error
        finally:
            if partial is not None:
                with contextlib.suppress(OSError):  # gone after the rename; on an error the first cause matters more
                    partial.unlink()


def _umask() -> int:
    """The process's file-mode mask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can."""
    if os.name != "posix":  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
