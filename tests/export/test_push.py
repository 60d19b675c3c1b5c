"""Uploads to the hub, by a stand-in for its client: what is asked of it, and each refusal in one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

hub = pytest.importorskip("huggingface_hub")

from huggingface_hub import constants  # noqa: E402
from huggingface_hub.errors import HfHubHTTPError  # noqa: E402

from lit_cnn.errors import UserError  # noqa: E402
from lit_cnn.export.push import check_push, push  # noqa: E402


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What was asked of the hub's client."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Api:
        def __init__(self, **_: Any) -> None:
            pass

        def create_repo(self, repo_id: str, **given: Any) -> None:
            asked.append(("create_repo", {"repo_id": repo_id, **given}))

        def upload_folder(self, **given: Any) -> SimpleNamespace:
            asked.append(("upload_folder", given))
            return SimpleNamespace(commit_url="https://hub/rosa/flowers/commit/0123")

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_x")
    return asked


def refused(status: int) -> HfHubHTTPError:
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    error = HfHubHTTPError.__new__(HfHubHTTPError)
    Exception.__init__(error, f"{status} Client Error\nmore")
    error.response = response
    return error


def test_all_files_go_into_one_commit_of_a_repository_that_is_private_if_new(client, tmp_path: Path) -> None:
    check_push("rosa/flowers")
    assert push(tmp_path / "best_timm", "rosa/flowers") == "https://hub/rosa/flowers/commit/0123"
    (_, created), (_, uploaded) = client
    assert created == {"repo_id": "rosa/flowers", "repo_type": "model", "private": True, "exist_ok": True}
    assert (uploaded["repo_id"], uploaded["folder_path"]) == ("rosa/flowers", tmp_path / "best_timm")


@pytest.mark.parametrize("name", ["flowers", "a/b/c", "rosa/", "rosa/roses and tulips", "https://hub/rosa/flowers"])
def test_what_is_no_name_is_refused_before_anything_is_computed(client, name: str) -> None:
    with pytest.raises(UserError, match=r"give OWNER/NAME, such as rosa/flowers"):
        check_push(name)
    assert not client


def test_without_a_token_or_offline_nothing_is_computed(client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(UserError, match=r"needs a token: log in by `hf auth login`"):
        check_push("rosa/flowers")
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE forbids the network"):
        check_push("rosa/flowers")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (refused(403), r"refuses to write to rosa/flowers \(status 403\): log in by `hf auth login`"),
        (refused(500), r"\(status 500\): 500 Client Error; .*best_timm is complete, try again$"),
        (ConnectionError("no route"), r"cannot reach the hub: no route; .*best_timm is complete, try again$"),
    ],
)
def test_refusals_of_the_hub_are_one_line_and_the_folder_stays(
    client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def fail(self: Any, **_: Any) -> None:
        raise error

    monkeypatch.setattr(hub.HfApi, "upload_folder", fail)
    folder = tmp_path / "best_timm"
    folder.mkdir()
    with pytest.raises(UserError, match=line):
        push(folder, "rosa/flowers")
    assert folder.is_dir()
