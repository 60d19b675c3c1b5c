"""Read what ``lit-cnn sweep`` has left: settings, scores with their intervals, times and curves of its runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

from lit_cnn.results.metrics_csv import read_metrics
from lit_cnn.results.scores import wilson

LOGS, SWEEPS = "lightning_logs", "sweeps"


class Run(NamedTuple):
    """A tested run.

    Attributes:
        folder: of the run.
        label: what the page calls it.
        metrics: of the test, by name.
        images: of the test.
        seconds: of training.
    """

    folder: Path
    label: str
    metrics: dict[str, float]
    images: int
    seconds: float

    @property
    def accuracy(self) -> tuple[float, float, float]:
        """Test accuracy with Wilson's 95% interval."""
        share, low, high = wilson(round(self.metrics["test/acc"] * self.images), self.images)
        return share, low, high

    def curve(self, metric: str) -> list[float]:
        """Values of a metric by epoch."""
        return [float(row[metric]) for row in read_metrics(self.folder / "metrics.csv")[1] if metric in row]


def read_run(folder: Path, label: str) -> Run:
    """A run that ``lit-cnn fit`` and ``lit-cnn test`` have left."""
    tested = json.loads((folder / "test" / "metrics.json").read_text(encoding="utf-8"))
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8")).get("facts", {})
    numbers = {name: float(value) for name, value in tested.items() if isinstance(value, (int, float))}
    return Run(folder, label, numbers, int(numbers["images"]), float(facts.get("seconds") or "nan"))


def read_sweep(root: Path, name: str, labels: list[str]) -> list[Run]:
    """The runs of a sweep, in the order of its file.

    Args:
        root: folder that holds ``sweeps`` and ``lightning_logs``.
        name: of the sweep.
        labels: of its runs; fewer than there are runs: each is that of as many seeds, one after another.

    Raises:
        SystemExit: the sweep has not been run to its end.
    """
    path = root / SWEEPS / name / "results.csv"
    if not path.is_file():
        raise SystemExit(f"{path} is missing: run the sweep first")
    with path.open(newline="", encoding="utf-8") as file:
        names = [row["run"] for row in csv.DictReader(file)]
    seeds, rest = divmod(len(names), len(labels))
    if rest:
        raise SystemExit(f"{path} has {len(names)} runs, the page {len(labels)} rows: is the sweep complete?")
    return [read_run(root / LOGS / run, labels[i // seeds]) for i, run in enumerate(names)]
