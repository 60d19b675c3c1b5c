"""The page of a run of image to image: scores, and input, output and target of some images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lit_cnn.results.report.page import write_report
from lit_cnn.results.report.restored import read_restored
from lit_cnn.results.restoration import chosen, read_triples, rows_of, triple, write_scores


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a test of eight images."""
    folder = tmp_path / "version_0" / "test"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    found = {name: rng.random(8) for name in ("ssim", "ssim_input")}
    found |= {"psnr": 20 + np.arange(8.0), "psnr_input": np.full(8, 13.0)}
    files = ["hazy/<b>.jpg", *(f"hazy/{i}.jpg" for i in range(1, 8))]
    triples = {i: triple([rng.random((3, 24, 30)) for _ in range(3)]) for i in chosen(8)}
    write_scores(folder, rows_of(files, found), {"test/psnr": 23.5, "test/loss": float("nan")}, 0, triples)
    return folder.parent


def test_the_page_says_what_the_network_gains_and_shows_the_images(run):
    path, said = write_report(run)
    assert said.startswith("PSNR 23.5 dB on 8 test images, +10.5 dB over the input; SSIM ")
    html = path.read_text()
    assert html.count('class="compare"') == 8
    assert html.count('src="data:image/jpeg;base64,') == 24
    assert "PSNR 13.00 → <b>27.00 dB</b>" in html
    assert "<b>.jpg" not in html.replace("&lt;b&gt;", "")
    assert html.index("hazy/7.jpg") < html.index("hazy/1.jpg")  # the largest gain first


def test_as_many_images_as_fit_are_shown(run):
    found = read_restored(run / "test")
    size = sum(len(picture) for each in found.triples.values() for picture in each)
    assert len(found.shown(size)) == 8
    assert len(found.shown(size // 2 + 1)) == 4
    assert len(found.shown(1)) == 1


def test_damaged_files_leave_the_page_without_them(run):
    (run / "test" / "triples.zip").write_bytes(b"PK")
    assert read_triples(run / "test") == {}
    assert 'class="compare"' not in write_report(run)[0].read_text()
    (run / "test" / "scores.csv").write_text("file,psnr\nx,1\n")
    assert read_restored(run / "test") is None
    assert "no evaluation yet" in write_report(run)[1]
