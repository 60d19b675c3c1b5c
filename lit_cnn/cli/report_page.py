"""report.html after a training run or an evaluation."""

from __future__ import annotations

from pathlib import Path

from lit_cnn import run_folder
from lit_cnn.results.report.page import NAME, write_report
from lit_cnn.utils.console import say
from lit_cnn.utils.rank import is_rank_zero


def write_page(run: Path | None) -> None:
    """Write the page of a run, and say where it is and what it says; on rank zero.

    Args:
        run: the run folder; ``None``, or one in which nothing was trained: no page.
    """
    if run is None or not is_rank_zero() or not run_folder.holds_training(run):
        return
    try:
        path, sentence = write_report(run)
    except Exception as error:  # the run is done and its results are there: they matter more than their page
        say(f"{NAME} was not written: {error}", error=True)
        return
    say(sentence)
    say(f"page: {run_folder.format_path(path)}")
