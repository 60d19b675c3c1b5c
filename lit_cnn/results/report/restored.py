"""An evaluation of image to image, read from its folder: scores and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lit_cnn.results.report.evaluated import SPLITS
from lit_cnn.results.restoration import Row, Triple, read_scores, read_triples


@dataclass
class Restored:
    """An evaluation of image to image.

    Attributes:
        folder: its folder.
        split: test or validation.
        rows: scores of N images.
        triples: pictures of some of them, by row: input, output and target as JPEG.
    """

    folder: Path
    split: str
    rows: list[Row]
    triples: dict[int, Triple]

    @property
    def scores(self) -> list[tuple[str, float, float]]:
        """Names of the scores, and their means over the images: of the outputs, and of the inputs."""
        table = np.array([row[1:] for row in self.rows])
        psnr, ssim, psnr_input, ssim_input = table.mean(axis=0).tolist()
        return [("PSNR, dB", psnr, psnr_input), ("SSIM", ssim, ssim_input)]

    def sentence(self) -> str:
        """What the network has reached."""
        (_, psnr, psnr_input), (_, ssim, ssim_input) = self.scores
        gain = f"{psnr - psnr_input:+.1f} dB over the input"
        structure = f"SSIM {ssim:.3f}, the input's is {ssim_input:.3f}"
        return f"PSNR {psnr:.1f} dB on {len(self.rows):,} {self.split} images, {gain}; {structure}."

    def shown(self, most_bytes: int) -> list[tuple[Row, Triple]]:
        """Images with their pictures, evenly spaced, as many as take no more bytes; the largest gain first."""
        found = list(self.triples.items())
        size = sum(len(picture) for _, triple in found for picture in triple)
        count = len(found) if size <= most_bytes else max(1, len(found) * most_bytes // size)
        places = sorted(set(np.linspace(0, len(found) - 1, count).round().astype(int).tolist())) if found else []
        chosen = [
            (self.rows[row], triple) for row, triple in (found[place] for place in places) if row < len(self.rows)
        ]
        return sorted(chosen, key=lambda pair: -pair[0].gain)


def read_restored(folder: Path) -> Restored | None:
    """Read an evaluation; None where its files are not those of image to image, or are damaged."""
    rows = read_scores(folder)
    if not rows:
        return None
    return Restored(folder, SPLITS[folder.name.split("_")[0]], rows, read_triples(folder))
