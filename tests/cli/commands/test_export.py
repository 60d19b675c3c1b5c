"""``lit-cnn export``: the file, its proof, and what is refused."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lit_cnn
from lit_cnn.cli.commands.export import FORMATS
from lit_cnn.cli.main import main
from lit_cnn.export import formats
from lit_cnn.export.formats import open_exported
from lit_cnn.export.graph import ExportGraph
from lit_cnn.utils.files import file_checksum
from tests.conftest import TINY, write_pictures
from tests.export.eager_format import EAGER


@pytest.fixture
def run(trained, workdir):
    """A run folder of its own."""
    return shutil.copytree(trained, workdir / "run")


@pytest.fixture
def eager(monkeypatch):
    """Files that keep the graph in memory."""
    monkeypatch.setitem(formats.FORMATS, "onnx", EAGER)


def test_the_command_knows_every_format():
    assert set(FORMATS) == formats.FORMATS.keys()


@pytest.mark.parametrize("takes", ["decoded", "resized"])
def test_the_file_is_proven_on_the_validation_images_and_says_what_it_holds(run, eager, capsys, takes):
    checkpoint = run / "checkpoints" / "best.ckpt"
    main(["export", f"--ckpt_path={checkpoint}", f"--input={takes}"])
    out = capsys.readouterr().out
    assert "proof: 179 validation images, largest difference in probability " in out
    assert "same answer for 179" in out
    assert "saved run/export/best.onnx" in out
    about = open_exported(run / "export" / "best.onnx").metadata
    assert about["names"] == {str(k): str(k) for k in range(10)}
    assert about["checkpoint_sha256"] == file_checksum(checkpoint)
    assert about["input"] == takes
    assert about["any_size"] == (takes == "decoded")  # LeNet's dense layers take one size
    assert about["proof"]["images"] == about["proof"]["same_answer"] == about["accuracy"]["images"] == 179
    assert about["proof"]["largest_difference"] < 1e-5
    low, value, high = (about["accuracy"][key] for key in ("low", "value", "high"))
    assert low < value < high
    assert [path.name for path in (run / "export").iterdir()] == ["best.onnx"]  # no partial file


def test_the_accuracy_is_that_of_validate(run, eager, capsys):
    checkpoint = f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"
    main(["validate", checkpoint, "--trainer.enable_progress_bar=false"])
    capsys.readouterr()
    main(["export", checkpoint, "--out=models"])
    about = open_exported(run.parent / "models" / "best.onnx").metadata
    counts = np.genfromtxt(run / "validate" / "confusion_matrix.csv", delimiter=",", skip_header=1)[:, 1:]
    assert about["accuracy"]["value"] == pytest.approx(np.trace(counts) / counts.sum())


def test_a_format_that_cannot_resize_takes_resized_images(run, workdir, capsys):
    main(["export", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", "--format=torchscript", "--out=models"])
    assert "same answer for 179" in capsys.readouterr().out
    about = open_exported(workdir / "models" / "best.torchscript").metadata
    assert (about["input"], about["any_size"]) == ("resized", False)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_file_with_another_mean_is_refused_and_leaves_nothing(run, eager, fails, monkeypatch, earlier):
    if earlier:
        (run / "export").mkdir()
        (run / "export" / "best.onnx").write_text("an earlier file")
    forward = ExportGraph.forward

    def sabotaged(self: ExportGraph, image: torch.Tensor) -> torch.Tensor:
        self.shift.fill_(90.0)
        return forward(self, image)

    monkeypatch.setattr(ExportGraph, "forward", sabotaged)
    line = fails("export", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}")
    assert line.startswith("refused: the onnx file answers otherwise than")
    assert "179 validation images, largest difference in probability" in line
    assert "such as digits/" in line
    if earlier:
        assert [path.read_text() for path in (run / "export").iterdir()] == ["an earlier file"]
    else:
        assert not (run / "export").exists()


def test_fewer_images_are_evenly_spaced_and_a_run_of_tta_has_it_in_the_file(workdir, eager, capsys):
    main(["fit", *TINY, "--epochs=1", "--model.tta=flip"])
    main(["export", "--ckpt_path=best", "--max-images=7"])
    out = capsys.readouterr().out
    assert "proof: 7 validation images" in out
    assert "TTA flip" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ckpt_path=missing.ckpt"], "missing.ckpt"),
        (["--format=tar"], "argument --format: invalid choice: 'tar'"),
        (["--max-images=-1"], "--max-images must be 0 (all) or more, got -1"),
        (["--out=file/models"], "cannot write file/models/best.onnx"),
        (["--format=torchscript", "--input=decoded"], "torchscript files cannot resize images: they take resized ones"),
        (["--format=torch_export", "--int8"], "torch_export files cannot be quantized: --format onnx can"),
        (["--push=rosa/flowers"], "--push uploads what --format timm and safetensors write: add one of them"),
        (["--format=timm", "--push=roses"], "--push roses: give OWNER/NAME, such as rosa/flowers"),
        (["--input=mine"], "argument --input: invalid choice: 'mine'"),
    ],
)
def test_mistakes_are_one_line(run, workdir, eager, fails, words, said):
    (workdir / "file").write_text("no folder")
    assert said in fails("export", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", *words)


def test_a_missing_data_folder_is_one_line(workdir, eager, fails):
    for name in ("a", "b"):
        write_pictures(workdir / "photos" / name, 4, size=20)
    tiny = [word for word in TINY if not word.startswith(("--data=", "--img-size"))]
    main(["fit", "photos", *tiny, "--img-size=8", "--epochs=1"])
    shutil.move("photos", "moved")
    assert "photos" in fails("export", "--ckpt_path=best")
    main(["export", "--ckpt_path=best", "--data-dir=moved"])


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Folder of files of the formats that take images of any size, by real exporters."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported")
    for name in ("onnx", "torch_export"):
        main(["export", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", f"--format={name}", f"--out={folder}"])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["best.onnx", "best.pt2"])
def test_a_file_answers_photos_of_any_size_as_predict_does(exported, trained, name):
    runner, model = open_exported(exported / name), lit_cnn.load(trained)
    rng = np.random.default_rng(0)
    for shape in ((28, 28), (500, 333), (30, 9), (900, 40)):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        expected = list(model.predict(Image.fromarray(pixels))[0].probabilities.values())
        assert runner(pixels[None, :, :, None])[0] == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.slow
def test_the_example_without_torch_gives_the_answers_of_predict(exported, trained, workdir, capsys):
    rng, files = np.random.default_rng(0), list[str]()
    for mode in ("RGB", "L", "RGBA", "P", "1", "CMYK", "LA"):
        image = Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).convert(mode)
        exif = image.getexif()
        exif[0x0112] = 6  # on its side
        files.append(f"{mode}.tif" if mode == "CMYK" else f"{mode}.png")
        image.save(files[-1], exif=exif)
    example = runpy.run_path(str(Path(__file__).parents[3] / "examples" / "classify_onnx.py"))
    example["main"](str(exported / "best.onnx"), *files)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == files
    for (file, name, probability), expected in zip(lines, lit_cnn.load(trained).predict(files), strict=True):
        assert (file, name) == (file, expected.name)
        assert float(probability) == pytest.approx(expected.probability, abs=1e-5)
