"""examples/classify_onnx.mjs in Node: the answers of the Python example and of ``predict``, from the same photos."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lit_cnn.cli.main import main
from lit_cnn.export.formats import FORMATS
from lit_cnn.export.graph import ExportGraph
from tests.cli.helpers import QUIET, rows

EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = ["onnxruntime-web@1.30.0", "sharp@0.35.5"]
Lines = list[list[str]]


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Lines]:
    """The example, with its packages from the npm registry in a folder of their own; skipped where that cannot be."""
    pytest.importorskip("onnxruntime")
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    quick = ["--fetch-retries=0", "--fetch-timeout=20000", "--no-audit", "--no-fund", "--no-update-notifier"]
    command = [npm, "install", *quick, f"--cache={folder / 'cache'}", f"--prefix={folder}", *PACKAGES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm cannot install {' '.join(PACKAGES)}: {done.stderr.strip()[:200]}")
    shutil.copy(EXAMPLES / "classify_onnx.mjs", folder)

    def run(model: Path, files: list[str]) -> Lines:
        command = [node, str(folder / "classify_onnx.mjs"), str(model), *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    return run


def same(found: Lines, expected: Lines) -> None:
    """Files and classes are equal, probabilities but for rounding."""
    assert [line[:2] for line in found] == [line[:2] for line in expected]
    for line, other in zip(found, expected, strict=True):
        assert float(line[2]) == pytest.approx(float(other[2]), abs=1e-5)


def write_photos() -> list[str]:
    """Photos of every kind that browsers show, each on its side by EXIF."""
    rng, files = np.random.default_rng(0), list[str]()
    for mode in ("RGB", "L", "RGBA", "P", "1", "LA"):
        image = Image.fromarray(rng.integers(0, 256, (40, 30, 4), dtype=np.uint8), "RGBA").convert(mode)
        exif = image.getexif()
        exif[0x0112] = 6
        for suffix in ("png", "jpg") if mode in ("RGB", "L") else ("png",):
            files.append(f"{mode}.{suffix}")
            image.save(files[-1], exif=exif)
    return files


@pytest.mark.slow
def test_it_gives_the_answers_of_predict(javascript, trained, workdir):
    model, files = workdir / "best.onnx", write_photos()
    checkpoint = f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}"
    main(["export", checkpoint, "--out=."])
    main(["predict", checkpoint, *files, QUIET, f"--predictions={workdir / 'predictions.csv'}"])
    expected = [[row["file"], row["predicted"], row["probability"]] for row in rows(workdir / "predictions.csv")]
    same(javascript(model, files), expected)


@pytest.mark.slow
def test_colours_reach_the_network_as_pillow_reads_them(javascript, workdir, capsys):
    torch.manual_seed(0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))
    preprocessing = {"image_size": 8, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.02, 0.03, 0.04]}
    graph = ExportGraph(network, preprocessing, "decoded").eval().requires_grad_(False)
    path, form = workdir / "net.onnx", FORMATS["onnx"]
    example = torch.zeros(2, 11, 13, 3, dtype=torch.uint8)
    form.write(graph, example, {0: "batch", 1: "height", 2: "width"}, path)
    metadata = {"producer": "tests 1", "description": "a net", "mode": "RGB"}
    metadata["names"] = {"0": "a", "1": "玫瑰", "2": "c"}
    form.write_metadata(path, metadata)
    files = write_photos()
    runpy.run_path(str(EXAMPLES / "classify_onnx.py"))["main"](str(path), *files)
    expected = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    same(javascript(path, files), expected)
