"""``lit-cnn predict`` on what people have: patterns, names on standard input, class folders, broken files."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cnn.cli.main import main
from tests.cli.helpers import rows as read_rows
from tests.cli.helpers import run_command

COLOURS = {"blue": (20, 20, 220), "red": (220, 20, 20)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that tells blue from red."""
    folder = tmp_path_factory.mktemp("model")
    write(folder / "photos", 20)
    words = [f"--data-dir={folder / 'photos'}", "--data=ImageFolder", "--img-size=16", "--epochs=8", "-b=8"]
    words += [
        "--model.backbone=convnet_pooled",
        "--model.backbone_args={widths: [4], dilations: [1]}",
        "--optimizer=adamw",
    ]
    main(["fit", *words, "--lr=0.02", f"--project={folder}", "--trainer.enable_progress_bar=false"])
    return folder / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt"


def write(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = rng.integers(-15, 15, (20, 20, 3))
            Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(folder / name / f"{number}.png")


def predict(model: Path, *words: str) -> list[dict[str, str]]:
    main(["predict", f"--ckpt_path={model}", "--project=.", *words])
    newest = max(Path("lightning_logs").glob("*/predict/predictions.csv"), key=lambda path: path.stat().st_mtime_ns)
    return read_rows(newest)


def test_a_pattern_is_expanded_here_where_no_shell_did_it(model, workdir, fails):
    write(workdir / "new", 3)
    Path("new", "blue", "notes.txt").touch()
    assert [row["file"] for row in predict(model, "new/b*/*")] == [f"new/blue/{i}.png" for i in range(3)]
    assert len(predict(model, "new/**/[12].png", "new/red/0.png")) == 5
    Path("new", "odd[1].png").write_bytes(Path("new", "red", "0.png").read_bytes())
    assert [row["predicted"] for row in predict(model, "new/odd[1].png")] == ["red"]  # a file of that name
    assert "no file or folder matches new/*.tiff" in fails("predict", f"--ckpt_path={model}", "new/*.tiff")


def test_standard_input_names_images_and_one_that_is_gone_is_listed(model, workdir, monkeypatch, fails, capsys):
    write(workdir / "new", 2)
    monkeypatch.setattr(sys, "stdin", io.StringIO("new/red/0.png\n\nnew/gone.png\nnew/blue\n"))
    assert [row["file"] for row in predict(model, "-")] == ["new/red/0.png", "new/blue/0.png", "new/blue/1.png"]
    (bad,) = read_rows(next(Path("lightning_logs").glob("*/predict/bad_images.csv")))
    assert bad == {"path": "new/gone.png", "reason": "there is no such file"}
    assert "3 predictions, 1 skipped" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert "standard input names no images" in fails("predict", f"--ckpt_path={model}", "-")


def test_broken_files_are_listed_and_the_rest_is_done_unless_all_are_broken(model, workdir, fails, capsys):
    write(workdir / "new", 2)
    Path("new", "red", "broken.png").write_bytes(Path("new", "red", "0.png").read_bytes()[:60])
    found = predict(model, "new/red")
    assert [row["file"] for row in found] == ["new/red/0.png", "new/red/1.png"]
    assert {row["predicted"] for row in found} == {"red"}
    (bad,) = read_rows(next(Path("lightning_logs").glob("*/predict/bad_images.csv")))
    assert bad["path"] == "new/red/broken.png"
    text = fails("predict", f"--ckpt_path={model}", "new/red/broken.png")
    assert "none of the 1 images can be read: new/red/broken.png" in text
    text = fails("predict", f"--ckpt_path={model}", "new/red", "--data.on_bad_image=error")
    assert "cannot read image new/red/broken.png" in text


def test_class_folders_have_scores_and_other_folders_have_none(model, workdir):
    write(workdir / "new", 3)
    found = predict(model, "new")
    assert [row["true"] for row in found] == ["blue"] * 3 + ["red"] * 3
    newest = max(Path("lightning_logs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert json.loads((newest / "predict" / "metrics.json").read_text())["accuracy"] == 1.0
    Path("new", "green").mkdir()
    Path("new", "green", "0.png").write_bytes(Path("new", "red", "0.png").read_bytes())
    assert {row["true"] for row in predict(model, "new")} == {""}
    assert {row["true"] for row in predict(model, "new/red")} == {""}


def test_predictions_go_where_the_user_says_and_standard_output_holds_nothing_else(model, workdir):
    write(workdir / "new", 2)
    done = run_command(workdir, "predict", f"--ckpt_path={model}", "--project=.", "new/red", "--predictions=-")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == ["new/red/0.png", "new/red/1.png"]
    assert "written to" in done.stderr
    predict(model, "new/red", "--predictions", "out.jsonl", "--save-images")
    assert [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()] == lines
    folders = list(Path("lightning_logs").glob("*/predict/images"))
    assert [path.name for path in sorted(folders[0].iterdir())] == ["000000_0.jpg", "000001_1.jpg"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["test", "--save-images"], "--save-images has no effect on test: predict has it"),
        (["fit", "--predictions=a.csv"], "--predictions has no effect on fit: leave it out"),
        (["test", "--predictions=a.xls"], "cannot write predictions to a.xls: give a file that ends in"),
    ],
)
def test_flags_without_effect_are_refused(words, said, model, workdir, fails):
    path = [f"--ckpt_path={model}"] if words[0] != "fit" else []
    assert said in fails(*words, *path)


@pytest.mark.slow
def test_two_ranks_leave_out_what_one_does(model, workdir):
    write(workdir / "new", 8)
    for number in (0, 3, 5):
        Path("new", "red", f"{number}.png").write_bytes(b"")
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    for words in ([], two):
        run_command(workdir, "predict", f"--ckpt_path={model}", "--project=.", "new", "-b=4", *words)
    one, other = sorted(Path("lightning_logs").glob("*/predict"))
    for name in ("predictions.csv", "bad_images.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert len(read_rows(one / "bad_images.csv")) == 3
