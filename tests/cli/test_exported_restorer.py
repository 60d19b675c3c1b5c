"""``export`` of an image restorer, and ``test``, ``validate`` and ``predict`` of its file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cnn.cli.main import main
from lit_cnn.export import formats
from lit_cnn.export.formats import open_exported
from lit_cnn.utils.files import file_checksum
from tests.cli.helpers import QUIET, rows
from tests.cli.test_restoration import FIT, best, run_of
from tests.conftest import write_pairs
from tests.export.eager_format import EAGER, graph_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a run of two epochs on tiny pairs; not to be changed."""
    root = tmp_path_factory.mktemp("restorer")
    write_pairs(root / "pairs", 16)
    main([*FIT, f"--data-dir={root / 'pairs'}", "--epochs=2", f"--trainer.default_root_dir={root}"])
    return root


@pytest.fixture
def file(trained, workdir, monkeypatch):
    """``models/best.onnx``, whose graph is kept in memory."""
    monkeypatch.setitem(formats.FORMATS, "onnx", EAGER)
    main(["export", best(trained), "--out=models"])
    return workdir / "models" / "best.onnx"


def test_the_file_is_proven_on_pairs_and_says_what_it_holds(capsys, trained, file):
    out = capsys.readouterr().out
    assert "proof: 4 validation images, largest difference of a pixel 0 of 255, 0.0e+00 of them differ" in out
    assert "input uint8 (N, height, width, 3), output uint8 (N, height, width, 3): images of any size" in out
    about = open_exported(file).metadata
    assert about["task"] == "restore"
    assert about["checkpoint_sha256"] == file_checksum(run_of(trained) / "checkpoints" / "best.ckpt")
    assert (about["multiple"], about["proof"]["images"], len(about["answers"])) == (2, 4, 4)
    mean = np.mean(list(about["answers"].values()))
    assert about["psnr"]["value"] == about["psnr"]["checkpoint"] == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("command", ["test", "validate"])
def test_a_file_gets_the_scores_of_its_checkpoint(file, trained, workdir, capsys, command):
    for model in (best(trained), f"--ckpt_path={file}"):
        main([command, model, QUIET, f"--trainer.default_root_dir={workdir}", f"--data-dir={trained / 'pairs'}"])
    assert "proof repeated on 4 images" in capsys.readouterr().out
    before, after = (workdir / "lightning_logs" / f"version_{i}" / command for i in range(2))
    for first, second in zip(rows(before / "scores.csv"), rows(after / "scores.csv"), strict=True):
        assert first["file"] == second["file"]
        assert float(first["psnr"]) == pytest.approx(float(second["psnr"]), abs=0.01)  # of rounded pixels
        assert float(first["psnr_input"]) == float(second["psnr_input"])
    assert json.loads((after / "metrics.json").read_text())["images"] == len(rows(after / "scores.csv"))


@pytest.mark.parametrize("tile", ["null", "16"])
def test_a_file_restores_the_photos_that_its_checkpoint_does(file, trained, workdir, tile):
    rng = np.random.default_rng(0)
    (workdir / "photos").mkdir()
    for name, size in (("a.png", (51, 34, 3)), ("b.png", (7, 9, 3))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(workdir / "photos" / name)
    (workdir / "photos" / "broken.png").write_bytes(b"no image")
    for model in (best(trained), f"--ckpt_path={file}"):
        root = f"--trainer.default_root_dir={workdir}"
        main(["predict", model, "photos", f"--model.tile={tile}", root, QUIET])
    before, after = (workdir / "lightning_logs" / f"version_{i}" / "predict" for i in range(2))
    assert "broken.png" in (after / "bad_images.csv").read_text()
    for name in ("a.png", "b.png"):
        first, second = (np.asarray(Image.open(folder / "images" / name)).astype(int) for folder in (before, after))
        assert np.abs(first - second).max() <= 1


def test_a_changed_file_is_found_and_the_changed_images_named(file, fails):
    graph_of(file).network.head.bias += 0.1
    line = fails("test", f"--ckpt_path={file}", QUIET)
    assert "best.onnx is not the file that was proven: of 4 validation images 4 become others, such as hazy/" in line


def test_a_file_that_answers_otherwise_is_refused_and_leaves_nothing(trained, workdir, monkeypatch, fails):
    def open_sabotaged(path: Path):
        graph_of(path).network.head.bias += 0.02
        return EAGER.open(path)

    monkeypatch.setitem(formats.FORMATS, "onnx", EAGER._replace(open=open_sabotaged))
    monkeypatch.setattr("lit_cnn.export.exporter._TRIED", ())
    line = fails("export", best(trained), "--out=models")
    assert line.startswith("refused: the onnx file answers otherwise than")
    assert "4 validation images, largest difference of a pixel" in line
    assert "such as hazy/" in line
    assert not (workdir / "models").exists()


def test_a_network_that_takes_one_size_alone_in_its_file_is_refused(trained, workdir, monkeypatch, fails):
    class OneSize(EAGER.open):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            if images.shape[1:3] != (37, 50):
                raise RuntimeError("another size")
            return super().__call__(images)

    monkeypatch.setitem(formats.FORMATS, "onnx", EAGER._replace(open=OneSize))
    line = fails("export", best(trained), "--out=models")
    assert line == "unet cannot be exported as onnx for images of any size"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--int8"], "restores images, and 8 bits are for networks that classify: leave --int8 out"),
        (["--input=resized"], "restores images in their own size: leave --input resized out"),
    ],
)
def test_what_is_for_classes_is_refused_in_a_line(trained, workdir, monkeypatch, fails, words, said):
    monkeypatch.setitem(formats.FORMATS, "onnx", EAGER)
    assert said in fails("export", best(trained), *words)


@pytest.mark.slow
def test_a_real_file_is_proven_too(trained, workdir, capsys):
    pytest.importorskip("onnxruntime")
    main(["export", best(trained), "--out=models"])
    assert "proof: 4 validation images, largest difference of a pixel" in capsys.readouterr().out
    moved = shutil.move(workdir / "models" / "best.onnx", workdir / "best.onnx")
    main(["test", f"--ckpt_path={moved}", QUIET, f"--trainer.default_root_dir={workdir}"])
    assert "proof repeated on 4 images" in capsys.readouterr().out
