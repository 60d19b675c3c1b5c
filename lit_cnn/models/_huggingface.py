"""Weights by name on the Hugging Face Hub, ``hf:OWNER/NAME[@REVISION]``: pinned to a commit, from the cache if there.

huggingface_hub does the work, with its own settings: ``HF_HOME`` is the cache, ``HF_TOKEN`` or ``hf auth login`` a
token, ``HF_HUB_OFFLINE=1`` forbids the network, ``HF_ENDPOINT`` names another server.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from lit_cnn import __version__
from lit_cnn.errors import UserError
from lit_cnn.models._external import timm_module
from lit_cnn.utils.console import say
from lit_cnn.utils.files import CHUNK, file_checksum

PREFIX = "hf:"
CONFIG = "config.json"
FILES = ("model.safetensors", "pytorch_model.bin")  # of weights, the first that a repository has
_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@(\S+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_module() -> ModuleType:
    """The package huggingface_hub.

    Raises:
        UserError: it is not installed.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise UserError("names hf:OWNER/NAME need the huggingface_hub package: pip install 'lit-cnn[hub]'") from None
    return huggingface_hub


def is_hub_name(source: object) -> bool:
    """Whether the setting ``model.weights`` names a repository of the hub."""
    return isinstance(source, str) and source.startswith(PREFIX)


def timm_hub_name(backbone: str) -> str:
    """The hub's name of the default weights of ``timm/NAME`` or ``timm/NAME.TAG``.

    Raises:
        UserError: there are none, or they are in a form that timm converts.
    """
    found = timm_module().get_pretrained_cfg(backbone.partition("/")[2])
    if found is None or not found.hf_hub_id or found.hf_hub_filename or found.custom_load:
        raise UserError(f"the hub has no weights in timm's own form for {backbone}: give a file, or another backbone")
    return f"{PREFIX}{found.hf_hub_id}"


def pin(source: str) -> str:
    """``hf:OWNER/NAME@COMMIT``: the name with the commit that its revision (by default main) stands for.

    A revision in the cache is not asked for again, so that a repeat needs no network. Of another one the config, or
    where there is none the weights, are downloaded.

    Raises:
        UserError: no such name or revision, no access, or no network.
    """
    repository, revision = _parse(source)
    if _COMMIT.fullmatch(revision):
        return f"{PREFIX}{repository}@{revision}"
    files = (CONFIG, *FILES)
    path = next((found for file in files if (found := _cached(repository, file, revision))), None)
    for file in files:
        path = path or _fetch(source, file)
    if path is None:
        raise UserError(_without_weights(source))
    return f"{PREFIX}{repository}@{path.parent.name}"  # snapshots/COMMIT/FILE


def hub_config(pinned: str) -> dict[str, Any]:
    """The repository's config.json, which timm writes beside weights; empty where there is none that can be read."""
    path = _fetch(pinned, CONFIG)
    return {} if path is None else read_config(path)


def read_config(path: Path) -> dict[str, Any]:
    """A config.json; empty where it is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def architecture(config: dict[str, Any]) -> str | None:
    """``timm/NAME`` of the network that a config.json of timm describes; None for others."""
    name = config.get("architecture")
    if not isinstance(name, str) or not timm_module().is_model(name):
        return None
    return f"timm/{name}"


def hub_weights(pinned: str) -> Path:
    """The file of weights, downloaded once and verified each time.

    Raises:
        UserError: the repository has none, it cannot be downloaded, or the file in the cache was changed.
    """
    for file in FILES:
        if path := _fetch(pinned, file):
            _verify(path, pinned)
            return path
    raise UserError(_without_weights(pinned))


def _parse(source: str) -> tuple[str, str]:
    found = _NAME.fullmatch(source)
    if found is None:
        raise UserError(f"`model.weights={source}`: give hf:OWNER/NAME or hf:OWNER/NAME@REVISION, such as "
                        "hf:timm/resnet18.a1_in1k")  # fmt: skip
    return found[1], found[2] or "main"


def _cached(repository: str, file: str, revision: str) -> Path | None:
    hub = hub_module()
    from huggingface_hub.errors import HFValidationError

    try:
        found = hub.try_to_load_from_cache(repository, file, revision=revision)
    except HFValidationError as error:
        raise UserError(f"`model.weights` is no name of the hub: {first_line(error)}") from None
    return Path(found) if isinstance(found, str) else None


def _fetch(source: str, file: str) -> Path | None:
    """A file of a repository, from the cache or downloaded; None where the repository has no such file."""
    hub, (repository, revision) = hub_module(), _parse(source)
    from huggingface_hub import constants, errors

    if path := _cached(repository, file, revision):
        return path
    if file in FILES and not constants.is_offline_mode():
        say(f"downloading {file} of {repository} from {constants.ENDPOINT}")
    try:
        return Path(
            hub.hf_hub_download(
                repository, file, revision=revision, library_name="lit-cnn", library_version=__version__
            )
        )
    except errors.GatedRepoError:
        raise UserError(
            f"{source} is gated: accept its terms at {constants.ENDPOINT}/{repository}, then log in by `hf auth login` "
            "or set HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{constants.ENDPOINT} has no repository {repository} that you may read: check the name; for a private "
            "one log in by `hf auth login` or set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{repository} has no revision {revision}: leave it out for the newest") from None
    except errors.LocalEntryNotFoundError as error:  # before the next, of which it is a kind
        _refuse_absent(source, file, error)
        return None
    except errors.EntryNotFoundError:
        return None
    except Exception as error:  # of the disk, of a connection that broke off, of whatever client the hub's package uses
        raise UserError(f"cannot download {file} of {source}: {first_line(error)}; try again") from error


def _refuse_absent(source: str, file: str, error: Exception) -> None:
    """Pass over a config that an earlier download of the weights did not bring.

    Raises:
        UserError: the weights, or all of a revision, are neither in the cache nor within reach.
    """
    from huggingface_hub import constants

    repository, revision = _parse(source)
    if file == CONFIG and any(_cached(repository, name, revision) for name in FILES):
        return
    get = f"`hf download {repository}` on a machine that has it fills the cache"
    if constants.is_offline_mode():
        raise UserError(
            f"{source} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids the network: unset it; "
            f"{get}"
        ) from None
    reason = first_line(error.__cause__ or error)
    raise UserError(
        f"{source} is not in the cache {constants.HF_HUB_CACHE}, and {constants.ENDPOINT} does not answer ({reason}): "
        f"{get}, or give a file"
    ) from None


def _without_weights(source: str) -> str:
    return f"{source} has neither {FILES[0]} nor {FILES[1]}: download another file of it and give its path"


def _verify(path: Path, source: str) -> None:
    """Compare a file with its hash: the cache names it after it, but for file systems without links.

    Raises:
        UserError: it was changed.
    """
    blob = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name):  # of a large file
        same = file_checksum(blob, "sha256") == blob.name
    elif _COMMIT.fullmatch(blob.name):
        same = _git_hash(blob) == blob.name
    else:
        return
    if not same:
        raise UserError(f"{blob} is not the published file of {source} (its hash differs): remove it")


def _git_hash(path: Path) -> str:
    """Git's hash of a file, by which the hub names small ones."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of a message of the hub's package, or the kind of the error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
