"""``lit-cnn report``: the page of a run by name, of the newest one, as another file; one-line refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lit_cnn.cli.main import main
from tests.results.report.test_page import make_run


def test_a_run_is_given_by_its_name_or_folder_or_is_the_newest(workdir, capsys):
    run = make_run(workdir / "lightning_logs")
    page = run / "report.html"
    for words in (["version_0"], [str(run)], []):
        main(["report", *words])
        assert page.is_file()
        page.unlink()
        out = capsys.readouterr().out.splitlines()
        assert out[0].startswith("86.7% of 30 test images are right (70-95%)")
        assert out[1] == "page: lightning_logs/version_0/report.html"


def test_it_is_written_to_another_file_or_folder(workdir, capsys):
    run = make_run(workdir / "lightning_logs")
    (workdir / "out").mkdir()
    main(["report", "version_0", "-o", "mine.html"])
    main(["report", "version_0", "--output", "out"])
    assert Path("mine.html").read_text() == Path("out", "report.html").read_text()
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no runs in lightning_logs"),
        (["nothing"], "there is no run nothing: give its folder, name or checkpoint; lit-cnn runs lists them"),
    ],
)
def test_there_is_no_such_run(workdir, fails, words, said):
    assert said in fails("report", *words)


def test_a_place_that_cannot_be_written_is_named(workdir, fails):
    make_run(workdir / "lightning_logs")
    text = fails("report", "version_0", "-o", "missing/page.html")
    assert "cannot write missing/page.html: No such file or directory; choose another --output" in text


def test_the_command_needs_no_torch(workdir):
    make_run(workdir / "lightning_logs")
    script = (
        "import sys; from lit_cnn.cli.commands.report import main; main(['report']); "
        "print([n for n in ('torch', 'lightning') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=workdir)
    assert found.stdout.splitlines()[-1] == "[]"
