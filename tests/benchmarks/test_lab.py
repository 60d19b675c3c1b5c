"""benchmarks/lab: its sweeps are valid, and each page is made of the runs that its sweep leaves."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.lab import __main__ as lab
from benchmarks.lab import cut, gradients, pages
from lit_cnn.cli import argv
from lit_cnn.cli.commands.sweep import read_sweep_file
from lit_cnn.cli.config import find_config
from lit_cnn.models import get_model
from lit_cnn.tuner.sweep_settings import flags, grid
from tests.conftest import write_pictures

ROOT = Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "benchmarks" / "lab").glob("*.yaml"))
TEXTS = sorted(path.stem for path in (ROOT / "docs" / "lab").glob("*.md") if path.stem != "index")
EXTRA = {"lenet": ["blog"], "vehicles": ["mlp"], "dehazing": ["srcnn"]}  # runs of a page beside its sweep
MORE = {"transfer": ["scratch"]}  # further sweeps of a page


def runs_of(path: Path) -> list[dict[str, object]]:
    file = read_sweep_file(path)
    return grid(file.get("grid", {}), file.get("runs", []), list(range(file.get("seeds", 0))))


def fake_run(folder: Path, accuracy: float) -> None:
    """The files that a page reads of a run."""
    (folder / "test").mkdir(parents=True)
    scores = {"test/acc": accuracy, "images": 200, "test/psnr": 18.0, "test/ssim": 0.7}
    scores |= {"test/psnr_input": 13.0, "test/ssim_input": 0.6}
    (folder / "test" / "metrics.json").write_text(json.dumps(scores))
    facts = {"seconds": 12.5, "network": {"parameters": 1000, "macs": 2_000_000}}
    (folder / "run.json").write_text(json.dumps({"facts": facts}))
    (folder / "metrics.csv").write_text("epoch,step,train/loss,val/loss\n0,5,2.0,2.1\n1,10,1.0,1.5\n")


def fake_sweep(root: Path, name: str, count: int) -> None:
    (root / "sweeps" / f"lab_{name}").mkdir(parents=True)
    with (root / "sweeps" / f"lab_{name}" / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run"])
        for number in range(count):
            writer.writerow([f"{name}{number}"])
            fake_run(root / "lightning_logs" / f"{name}{number}", 0.5 + number / 100)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_names_configs_and_settings_that_exist(path):
    file = read_sweep_file(path)
    assert file["name"] == f"lab_{path.stem}"
    for run in runs_of(path):
        arguments = argv.parse(["fit", *file["fit"], *flags(run)])
        assert all(find_config(config) for config in arguments.configs)
        model = next((v for n, v in arguments.flags if n == "--model.backbone"), None)
        given = run.get("model.backbone_args")
        if model is not None and given is not None:
            get_model(model, num_classes=3, in_channels=1, **given)  # refuses unknown arguments


@pytest.mark.parametrize("page", sorted(pages.PAGES))
def test_a_page_is_made_of_the_runs_of_its_sweep(page, workdir, monkeypatch, capsys):
    monkeypatch.setattr(pages, "convolution_seconds", lambda: {"torch": 1e-4, "by hand: loops": 9.0})
    monkeypatch.setattr(gradients, "batches", lambda folder, size: [])
    monkeypatch.setattr(gradients, "relative_gradient", lambda network, data, weight: [0.1] * len(gradients.STAGES))
    monkeypatch.setattr(gradients, "untrained", lambda name, classes: None)
    for name in [page, *MORE.get(page, [])]:
        fake_sweep(workdir, name, len(runs_of(ROOT / "benchmarks" / "lab" / f"{name}.yaml")))
    for name in EXTRA.get(page, []):
        fake_run(workdir / "lightning_logs" / name, 0.5)
    for name in "ab":
        (workdir / "images" / name).mkdir(parents=True)
    lab.main([page, *(["--data=images"] if page == "googlenet" else [])])
    assert "12" in capsys.readouterr().out  # seconds
    assert (workdir / f"{page}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", TEXTS)
def test_a_page_has_its_text_picture_and_sweep(page):
    text = (ROOT / "docs" / "lab" / f"{page}.md").read_text(encoding="utf-8")
    picture = ROOT / "docs" / "images" / "lab" / f"{page}.png"
    assert f"](../images/lab/{page}.png)" in text
    assert f"python -m benchmarks.lab {page}" in text
    assert f"benchmarks/lab/{page}.yaml" in text
    assert picture.stat().st_size < 60_000


def test_a_sweep_that_was_not_run_is_named(workdir):
    with pytest.raises(SystemExit, match=r"results\.csv is missing: run the sweep first"):
        lab.main(["lenet"])


def test_a_cut_takes_no_image_into_both_parts(workdir, capsys):
    write_pictures(workdir / "all" / "a", 5)
    write_pictures(workdir / "all" / "b", 9)
    cut.main(["all", "some", "--train=4", "--test=2"])
    assert capsys.readouterr().out == "11 images in some\n"
    names = {part: sorted(p.name for p in (workdir / "some" / part / "a").iterdir()) for part in ("train", "test")}
    assert names == {"train": ["00.jpg", "01.jpg", "02.jpg"], "test": ["03.jpg", "04.jpg"]}
    for words in (["all", "some"], ["nowhere", "other"]):
        with pytest.raises(SystemExit):
            cut.main(words)
    assert "there is no folder nowhere" in capsys.readouterr().err


def test_auxiliary_losses_add_to_the_gradient_of_the_layers_before_them():
    data = [(torch.randn(2, 3, 80, 80), torch.tensor([0, 1]))]
    plain, heavy = (gradients.relative_gradient(gradients.untrained("googlenet", 2), data, w) for w in (0.0, 10.0))
    assert heavy[0] > 2 * plain[0]  # conv1
    assert heavy[-1] == pytest.approx(plain[-1], rel=1e-3)  # 5b, behind both heads


def test_paths_of_dilated_convolutions():
    assert pages.line_of_paths(3, (2, 2, 2)).tolist() == [1, 0, 3, 0, 6, 0, 7, 0, 6, 0, 3, 0, 1]
    assert np.all(pages.line_of_paths(3, (1, 2, 5)) > 0)
