"""Strange surroundings: containers without a user, read-only folders, no place for temporary files, odd paths."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY, write_pictures

from .children import Forked

# What a container started by `docker run --user 54321` has: no entry in /etc/passwd, and mostly no HOME.
STRANGER = """
import os
os.environ.pop("HOME", None)
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
"""
MAIN = """
import sys
from tests import figures
figures.draw()
from lit_cnn.cli.main import main
main(sys.argv[1:])
"""
FIT = ["fit", *TINY, "--epochs=1", "--trainer.enable_progress_bar=true"]
PHOTOS = ["--data=ImageFolder", "--data-dir=photos", "--img-size=8", "--model.backbone=convnet_pooled", "-b=8", "-j=1"]
PHOTOS += ["--model.backbone_args={widths: [8], dilations: [1]}", "--device=cpu", "--lr=0.01"]

root_only = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder that every user can write to; pytest's own is root's."""
    made = Path(tempfile.mkdtemp(prefix="lit_cnn surroundings "))
    made.chmod(0o777)
    monkeypatch.chdir(made)
    monkeypatch.delenv("LIT_CNN_CACHE", raising=False)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def run(folder: Path) -> Run:
    """Run a command in a process of its own, after some code that changes its surroundings."""

    def start(words: list[str], *surroundings: str) -> tuple[int, str]:
        child = Forked("\n".join([*surroundings, MAIN]), *words)
        printed = "".join(child.communicate(300))
        for path in folder.glob("child-*.txt"):
            path.unlink()
        assert "Traceback" not in printed, printed
        assert not list(folder.rglob("~*")), "a folder called ~"
        return child.returncode or 0, printed

    return start


def photos(folder: Path) -> None:
    for seed, name in enumerate(("cat", "dog")):
        write_pictures(folder / "photos" / name, 10, seed, size=10)


# -- users without a home ---------------------------------------------------------------------------------------------


@root_only
@pytest.mark.slow
def test_a_user_without_a_home_trains_tests_and_resumes(folder: Path, run: Run) -> None:
    photos(folder)
    for words in (["prepare", *PHOTOS[:2]], ["fit", *PHOTOS, "--epochs=1", "--data.on_bad_image=skip"]):
        status, said = run(words, STRANGER)
        assert status == 0, said
    for words in (["test", "--ckpt_path=best"], ["predict", "--ckpt_path=best", "photos/cat"]):
        assert run(words, STRANGER)[0] == 0
    status, said = run(["fit", "--resume", "--epochs=2"], STRANGER)
    assert (status, "matplotlib" in said.lower()) == (0, False), said


@root_only
@pytest.mark.slow
def test_a_user_without_a_home_is_told_how_to_name_one(folder: Path, run: Run) -> None:
    photos(folder)
    status, said = run(["fit", *PHOTOS, "--data.cache=disk"], STRANGER)
    assert (status, "LIT_CNN_CACHE" in said) == (2, True), said
    status, said = run(["fit", *PHOTOS, "--data-dir=~/photos"], STRANGER)
    assert (status, "HOME" in said) == (2, True), said
    assert run(["fit", *PHOTOS, "--epochs=1", "--data.cache=disk"], STRANGER, "os.environ['LIT_CNN_CACHE']='c'")[0] == 0


@root_only
@pytest.mark.slow
@pytest.mark.parametrize("home", ["/nonexistent", "/proc"])
def test_a_home_that_cannot_be_written_costs_nothing_but_the_cache(home: str, folder: Path, run: Run) -> None:
    photos(folder)
    words = ["fit", *PHOTOS, "--epochs=1", "--data.on_bad_image=skip"]
    status, said = run(words, STRANGER, f"os.environ['HOME'] = {home!r}")
    assert status == 0, said
    assert (folder / "lightning_logs" / "version_0" / "results.png").is_file()


# -- folders that cannot be written, or are not what they seem --------------------------------------------------------


@root_only
@pytest.mark.slow
def test_results_of_a_read_only_run_go_where_the_user_says(folder: Path, run: Run) -> None:
    photos(folder)
    assert run(["fit", *PHOTOS, "--epochs=1"])[0] == 0
    (folder / "ours").mkdir(mode=0o777)
    (folder / "ours").chmod(0o777)
    for words in (["test"], ["predict", "photos/cat"]):
        words = [*words, "--ckpt_path=lightning_logs/version_0"]
        status, said = run(words, STRANGER)
        assert (status, "--trainer.default_root_dir DIR" in said) == (2, True), said
        status, said = run([*words, "--trainer.default_root_dir=ours"], STRANGER)
        assert status == 0, said
        assert list((folder / "ours").rglob(f"{words[0]}/predictions.csv"))
    status, said = run(["fit", "--resume", "--epochs=2"], STRANGER)
    assert (status, "cannot write the run folder" in said) == (2, True), said


@root_only
def test_a_read_only_working_folder_is_one_line_with_the_flag(folder: Path, run: Run) -> None:
    folder.chmod(0o755)
    child = STRANGER + "os.chdir(sys.argv.pop(1))"  # its output goes to files of root's
    (folder / "in").mkdir()
    status, said = run([str(folder / "in"), *FIT], "import sys", child)
    assert (status, "--trainer.default_root_dir DIR" in said) == (2, True), said


KINDS = {
    "a file": lambda path, _: path.write_text("mine"),
    "a dangling link": lambda path, _: path.symlink_to("nowhere"),
    "a link to a folder": lambda path, other: path.symlink_to(other),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_lightning_logs_may_be_a_link_but_nothing_else(kind: str, folder: Path, run: Run) -> None:
    (folder / "disk").mkdir()
    KINDS[kind](folder / "lightning_logs", folder / "disk")
    status, said = run(FIT)
    if kind == "a link to a folder":
        assert status == 0, said
        assert run(["test", "--ckpt_path=best", "--trainer.default_root_dir=."])[0] == 0
        assert (folder / "disk" / "version_0" / "test" / "metrics.json").is_file()
    else:
        assert (status, "lightning_logs is not a folder" in said) == (2, True), said


def test_a_working_folder_that_was_removed_is_one_line(folder: Path, run: Run) -> None:
    gone = "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir(os.getcwd())"
    status, said = run(FIT, gone)
    assert (status, "the working folder does not exist any more" in said) == (2, True), said


NAMES = ["-it's a folder", "📷 café 日本 $HOME=1\nnew line", "l" * 200]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_odd_paths_work_and_what_is_printed_can_be_typed(name: str, folder: Path, run: Run) -> None:
    write_pictures(folder / name / "photos" / "cat", 9, size=10)
    write_pictures(folder / name / "photos" / "dog", 9, seed=1, size=10)
    words = ["fit", *PHOTOS, f"--data-dir=./{name}/photos", "--epochs=1", f"--trainer.default_root_dir=./{name}"]
    status, said = run(words)
    assert status == 0, said
    command = said.partition("test it: lit-cnn ")[2].strip()
    typed = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True)
    status, said = run(typed.stdout.split("\0")[:-1])
    assert status == 0, said


# -- limits, signals and streams of a process -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "limit",
    [
        "os.umask(0o077); os.nice(19); os.setsid(); resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))",
        "os.environ.update(TERM='dumb', COLUMNS='40', NO_COLOR='1', FORCE_COLOR='1', TZ='Pacific/Kiritimati')",
        "now = time.time; time.time = lambda: 3.5e9 - now()",  # a clock that runs backwards
        "os.closerange(0, 3); sys.stdin = sys.stdout = sys.stderr = None",
        "sys.stdout = sys.stderr = open('/dev/full', 'w', buffering=1)",
    ],
    ids=["limits", "terminal and time zone", "clock", "closed streams", "full disk"],
)
def test_a_run_and_its_resume_do_not_mind(limit: str, folder: Path, run: Run) -> None:
    limit = f"import os, resource, sys, time; {limit}"
    assert run(FIT, limit)[0] == 0
    assert run(["fit", "--resume", "--epochs=2"], limit)[0] == 0
    log = (folder / "lightning_logs" / "version_0" / "log.txt").read_text(encoding="utf-8")
    assert "epoch 1/1" in log
    assert "epoch 2/2" in log


@pytest.mark.slow
def test_a_run_under_nohup_ignores_the_end_of_its_terminal(folder: Path, run: Run) -> None:
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    hang_up = "import threading, os; threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGHUP)).start()"
    status, said = run(FIT, ignored, hang_up)
    assert status == 0, said


BASH = 'set -o pipefail; "$0" -m lit_cnn "$@" {}'


def shell(words: list[str], redirection: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in bash with its streams redirected."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    command = ["bash", "-c", BASH.format(redirection), sys.executable, *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False, env=env)


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["| head -1"])
def test_a_run_trains_to_its_end_whatever_reads_its_output(redirection: str, workdir: Path) -> None:
    done = shell(FIT, redirection)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    log = (workdir / "lightning_logs" / "version_0" / "log.txt").read_text(encoding="utf-8")
    assert "epoch 1/1" in log
    assert "finished" in log


@pytest.mark.parametrize("words", [["models", "timm/*"], ["--help"]])
def test_a_listing_whose_reader_is_gone_ends_quietly(words: list[str], workdir: Path) -> None:
    done = shell(words, "| head -1", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_a_listing_that_does_not_fit_on_the_disk_is_an_error(workdir: Path) -> None:
    done = shell(["configs"], "> /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "No space left" in done.stderr


@pytest.mark.slow
def test_classes_in_any_script_are_shown_in_any_encoding_and_files_are_utf8(workdir: Path) -> None:
    for name in ("café", "日本"):
        write_pictures(workdir / "photos" / name, 10, size=10)
    for words in (["fit", *PHOTOS, "--epochs=1"], ["predict", "--ckpt_path=best", "photos"]):
        done = shell(words, "", PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
    done = shell(["fit", *PHOTOS, "--epochs=1"], "", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 2
    assert "reads file names as ascii" in done.stderr
    assert "set PYTHONUTF8=1" in done.stderr
    for path in workdir.rglob("lightning_logs/**/*"):
        if path.suffix in (".csv", ".json", ".yaml", ".txt"):
            path.read_text(encoding="utf-8")


def test_the_signal_for_a_terminal_that_is_gone_is_one_of_those_that_save() -> None:
    from lit_cnn.callbacks.last_checkpoint import SIGNALS

    assert signal.SIGHUP in SIGNALS
