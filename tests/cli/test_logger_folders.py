"""Loggers and profilers of the settings: metrics.csv and results.png stay, and files go into the run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_cnn.cli.logger_folders import flag_words, with_save_dir
from lit_cnn.cli.main import main
from tests.cli.helpers import rows
from tests.conftest import TINY, mostly_slow, state_differences

CSV = {"class_path": "CSVLogger", "init_args": {"save_dir": "."}}
THERE = {"class_path": "CSVLogger", "init_args": {"save_dir": "x"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (False, False),
        ("CSVLogger", CSV),
        ({"class_path": "CSVLogger"}, CSV),
        (THERE, THERE),
        (["CSVLogger", "WandbLogger"], [CSV, "WandbLogger"]),
        ("mine.CSVLogger", "mine.CSVLogger"),
    ],
    ids=str,
)  # fmt: skip
def test_a_logger_that_needs_a_folder_gets_one(value, expected):
    assert with_save_dir(value) == expected


def test_a_flag_that_names_a_logger_gets_the_folder_as_another():
    words = list(flag_words("--trainer.logger", "CSVLogger"))
    assert words == ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "."]
    assert list(flag_words("--trainer.logger+", "WandbLogger")) == ["--trainer.logger+", "WandbLogger"]
    assert list(flag_words("--epochs", "3")) == ["--epochs", "3"]


FORMS = [
    ("--trainer.logger=CSVLogger",),
    ("--trainer.logger=TensorBoardLogger", "--trainer.logger.log_graph=false"),
    ('--trainer.logger=["CSVLogger", "TensorBoardLogger"]',),
    ("--config=c.yaml",),
    ("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=mine"),
]


@pytest.mark.parametrize("words", mostly_slow(FORMS, FORMS[3]), ids=" ".join)
def test_a_logger_of_the_settings_keeps_metrics_csv_and_a_resume_is_exact(words, workdir, real_figures):
    Path("c.yaml").write_text("trainer:\n  logger: {class_path: CSVLogger}\n", encoding="utf-8")
    words = ["fit", *TINY, "--model.lr_scheduler=constant", *words]
    main([*words, "--epochs=2", "--trainer.default_root_dir=straight"])
    main([*words, "--epochs=1", "--trainer.default_root_dir=parts"])
    main(["fit", "--resume", "--epochs=2", "--trainer.default_root_dir=parts"])
    straight, parts = (Path(root, "lightning_logs", "version_0") for root in ("straight", "parts"))
    assert state_differences(straight / "checkpoints" / "last.ckpt", parts / "checkpoints" / "last.ckpt") == []
    assert (straight / "metrics.csv").read_bytes() == (parts / "metrics.csv").read_bytes()
    assert (parts / "results.png").is_file()
    given = {"straight", "parts", "c.yaml", *(["mine"] if "mine" in words[-1] else [])}
    assert {path.name for path in workdir.iterdir()} - {"cache"} == given
    if "CSVLogger" in str(words) or "c.yaml" in words[-1]:
        written = (workdir / "mine" / "lightning_logs" if "mine" in given else straight / "csv") / "version_0"
        assert float(rows(written / "metrics.csv")[0]["val/acc"]) > 0
    if "TensorBoardLogger" in str(words):
        assert len(list(parts.glob("events.*"))) == 2


def test_no_logger_means_none(workdir, real_figures):
    main(["fit", *TINY, "--epochs=1", "--trainer.logger=false"])
    run = workdir / "lightning_logs" / "version_0"
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert not (run / "metrics.csv").exists()
    assert not (run / "results.png").exists()


def test_an_evaluation_refuses_a_logger(trained, workdir, fails):
    line = fails("test", f"--ckpt_path={trained}", "--trainer.logger=CSVLogger")
    assert line == "--trainer.logger has no effect on test: leave it out"


PROFILERS = ["simple", "advanced", "SimpleProfiler", "AdvancedProfiler"]


@pytest.mark.parametrize("name", mostly_slow(PROFILERS, "simple"))
def test_the_report_of_a_profiler_is_in_a_file_that_a_line_names(name, workdir, capsys):
    main(["fit", *TINY, "--epochs=1", f"--trainer.profiler={name}"])
    assert "profile: lightning_logs/version_0/fit-profile.txt" in capsys.readouterr().out.splitlines()
    report = workdir / "lightning_logs" / "version_0" / "fit-profile.txt"
    assert "Profile" in report.read_text(encoding="utf-8")
    main(["test", "--ckpt_path=best", f"--trainer.profiler={name}"])
    assert "profile: lightning_logs/version_0/test/test-profile.txt" in capsys.readouterr().out.splitlines()


def test_a_profiler_goes_where_its_settings_say(workdir, capsys):
    words = [
        "--trainer.profiler=SimpleProfiler",
        "--trainer.profiler.dirpath=there",
        "--trainer.profiler.filename=mine",
    ]
    main(["fit", *TINY, "--epochs=1", *words])
    assert "profile: there/fit-mine.txt" in capsys.readouterr().out.splitlines()
