"""Upload an exported folder to the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from lit_cnn import __version__
from lit_cnn.errors import UserError
from lit_cnn.models._huggingface import first_line, hub_module

_LOG_IN = "log in by `hf auth login`, or set HF_TOKEN to a token that may write"


def check_push(repository: str) -> None:
    """Refuse what cannot be uploaded before anything is computed.

    Args:
        repository: ``OWNER/NAME``.

    Raises:
        UserError: it is no such name, there is no token, or the package is missing.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
        raise UserError(f"`push={repository}`: give OWNER/NAME, such as rosa/flowers")
    hub = hub_module()
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise UserError(f"`push={repository}`: HF_HUB_OFFLINE forbids the network: unset it")
    if hub.get_token() is None:
        raise UserError(f"`push={repository}` needs a token: {_LOG_IN}")


def push(folder: Path, repository: str) -> str:
    """Upload all files of a folder as a commit; a repository that is not there is created, and is private.

    Args:
        folder: as ``export_folder`` writes it.
        repository: ``OWNER/NAME``.

    Returns:
        The commit's address.

    Raises:
        UserError: the hub refuses it, or cannot be reached; the folder stays.
    """
    api = hub_module().HfApi(library_name="lit-cnn", library_version=__version__)
    from huggingface_hub import errors

    try:
        api.create_repo(repository, repo_type="model", private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=f"Upload {folder.name} by lit-cnn {__version__}"
        )
    except errors.HFValidationError as error:
        raise UserError(f"`push={repository}`: {first_line(error)}") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        what = f"the hub refuses to write to {repository} (status {status})"
        if status in (401, 403):
            raise UserError(f"{what}: {_LOG_IN}, as the owner or a member") from None
        raise UserError(f"{what}: {first_line(error)}; {folder} is complete, try again") from None
    except Exception as error:  # of whatever client the hub's package uses
        raise UserError(f"cannot reach the hub: {first_line(error)}; {folder} is complete, try again") from error
    return str(commit.commit_url)
