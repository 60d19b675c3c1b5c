"""``test``, ``validate`` and ``predict`` of an exported file: the report of its checkpoint, the answers proven."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lit_cnn.cli.main import main
from lit_cnn.export import formats
from tests.cli.helpers import QUIET, rows
from tests.conftest import write_pictures
from tests.export.eager_format import EAGER, graph_of


@pytest.fixture
def run(trained, workdir, monkeypatch):
    """A run folder with export/best.onnx, whose graph is kept in memory."""
    monkeypatch.setitem(formats.FORMATS, "onnx", EAGER)
    run = shutil.copytree(trained, workdir / "lightning_logs" / "version_0")
    main(["export", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"])
    return run


def same_rows(first: Path, second: Path) -> None:
    """Two predictions.csv with the same rows, but for features that a file does not give, and for rounding."""
    before, after = rows(first), rows(second)
    assert len(before) == len(after)
    for row, other in zip(before, after, strict=True):
        assert row.keys() - other.keys() <= {"ood_score", "ood"}
        for key, text in other.items():
            assert text == row[key] or float(text) == pytest.approx(float(row[key]), abs=2e-5), key


@pytest.mark.parametrize("command", ["test", "validate"])
def test_a_file_gets_the_report_of_its_checkpoint(run, workdir, capsys, command):
    main([command, f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", QUIET])
    shutil.move(run / command, workdir / "before")
    capsys.readouterr()
    main([command, f"--ckpt_path={run / 'export' / 'best.onnx'}", QUIET])
    assert "proof repeated on 179 images" in capsys.readouterr().out
    (after,) = workdir.glob(f"lightning_logs/*/{command}")
    same_rows(workdir / "before" / "predictions.csv", after / "predictions.csv")
    assert {path.name for path in after.iterdir()} == {path.name for path in (workdir / "before").iterdir()}
    scores = [json.loads((folder / "metrics.json").read_text()) for folder in (workdir / "before", after)]
    assert scores[0]["accuracy"] == scores[1]["accuracy"]


def test_photos_get_the_classes_of_the_checkpoint_and_broken_ones_are_left_out(run, workdir, capsys):
    write_pictures(workdir / "photos", 3)
    (workdir / "photos" / "broken.jpg").write_bytes(b"no image")
    for name in ("checkpoints/best.ckpt", "export/best.onnx"):
        main(["predict", f"--ckpt_path={run / name}", "photos", QUIET])
    (after,) = (path for path in workdir.glob("lightning_logs/*/predict*") if path.parent != run)
    same_rows(run / "predict" / "predictions.csv", after / "predictions.csv")
    assert "broken.jpg" in (after / "bad_images.csv").read_text()


def test_a_changed_mean_is_found_and_the_changed_pictures_named(run, fails):
    file = run / "export" / "best.onnx"
    graph_of(file).shift += 30
    line = fails("test", f"--ckpt_path={file}", QUIET)
    assert "best.onnx is not the file that was proven: of 179 validation images" in line
    assert "have another probability, such as digits/" in line
    assert not list(run.parent.glob("*/test"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["test", "--raw"], "--raw has no effect on an exported file"),
        (["test", "--model.tta=flip"], "--model.tta has no effect on an exported file"),
        (["fit"], "is an exported file, which cannot be trained"),
    ],
)
def test_what_has_no_effect_on_a_file_is_refused(run, fails, words, said):
    assert said in fails(*words, f"--ckpt_path={run / 'export' / 'best.onnx'}")


def test_a_file_of_another_program_is_one_line(run, fails):
    file = run / "export" / "best.onnx"
    EAGER.write(graph_of(file), None, {}, file)
    assert "was not written by lit-cnn export" in fails("test", f"--ckpt_path={file}")
