from __future__ import annotations

import shutil
import subprocess

import pytest

from lit_cnn.cli.commands import COMMANDS
from lit_cnn.cli.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_has_all_commands_and_the_usual_flags_and_its_shell_accepts_it(shell, tmp_path, capsys):
    main(["completion", shell])
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert "batch" in script
    assert "lenet_digits" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_bash_completes_commands_flags_and_names_of_configs(tmp_path, capsys):
    main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)

    def complete(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        code = (
            f"source {tmp_path / 'script'}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            "$(complete -p lit-cnn | sed 's/.*-F \\([^ ]*\\).*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert complete("lit-cnn", "mod") == ["models"]
    assert "--batch_size" in complete("lit-cnn", "fit", "--batch")
    assert complete("lit-cnn", "configs", "lenet_di") == ["lenet_digits"]
    assert complete("lit-cnn", "fit", "--data", "Digi") == ["Digits"]
    assert "--reference" in complete("lit-cnn", "models", "--")


def test_an_unknown_shell_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["completion", "tcsh"])
    assert stop.value.code == 2
    assert "bash" in capsys.readouterr().err
