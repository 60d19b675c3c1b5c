"""``lit-cnn compare RUN…``: which run is better on the same images, and whether that many images can tell."""

from __future__ import annotations

import argparse
import csv
import glob
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_cnn import run_folder
from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.errors import UserError
from lit_cnn.results import comparison
from lit_cnn.results.comparison import Difference, Evaluation
from lit_cnn.results.pictures import file_picture
from lit_cnn.utils.files import atomic_write, expand_home

EPILOG = """\
Each run needs predictions for the same images: lit-cnn test --ckpt_path RUN.
Runs whose settings differ in nothing but the seed are shown as mean and
standard deviation, too.

examples:
  lit-cnn compare plain18 resnet18              runs by name
  lit-cnn compare 'lightning_logs/*'            all that are there
  lit-cnn compare a/checkpoints/best.ckpt b     a checkpoint stands for its run
"""
SPLITS = ("test", "validate")
# what a run was trained with does not depend on these
PLACES = ("trainer.default_root_dir", "trainer.logger", "trainer.enable_progress_bar", "checkpoint.", "data.workers")


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``.

    Raises:
        UserError: fewer than two runs, one without predictions, or predictions of different images.
    """
    parser = CommandParser(
        prog="lit-cnn compare",
        description="Compare runs on the same images: paired tests, settings, curves.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, names, checkpoints, or patterns")
    parser.add_argument("--split", choices=SPLITS, default="test", help="whose predictions are compared")
    parser.add_argument("--output", "-o", type=Path, default=Path("comparison"), metavar="DIR", help="for the page")
    own = parser.parse_args(words[1:])
    folders = _folders(own.runs)
    if len(folders) < 2:
        raise UserError(f"{len(folders)} run to compare: give two or more, such as lit-cnn compare 'lightning_logs/*'")
    lines, sentence = compare(folders, own.split, expand_path(own.output))
    print("\n".join([*lines[:-2], sentence, *lines[-2:]]))


def compare(folders: Sequence[Path], split: str, output: Path) -> tuple[list[str], str]:
    """Compare runs, and write the page and the table of the images on which they disagree.

    Args:
        folders: of the runs, two or more.
        split: test or validate.
        output: folder of the page.

    Returns:
        Lines for the terminal, the last two of which name the files, and what the comparison says in a sentence.

    Raises:
        UserError: a run has no predictions, or those of other images; the page cannot be written.
    """
    evaluations = [comparison.read_predictions(_predictions(folder, split)) for folder in folders]
    names = _names(folders)
    comparison.check_same_images(names, evaluations)
    settings = [_settings(folder) for folder in folders]
    pairs = comparison.differences(evaluations)
    differing = comparison.differing_settings(settings)
    sentence = _seeds_sentence(settings, differing, evaluations) or _sentence(names, evaluations, pairs)
    lines = _table(names, settings, differing, evaluations, pairs)
    return [*lines, *_write(output, names, folders, settings, differing, evaluations, pairs, sentence)], sentence


def expand_path(path: Path) -> Path:
    """A path with ``~`` replaced."""
    return Path(expand_home(str(path)))


def _folders(words: Sequence[str]) -> list[Path]:
    """Run folders of the words, each once; patterns leave out folders that are no runs."""
    found: list[Path] = []
    for word in map(expand_home, words):
        if any(letter in word for letter in "*?[") and not Path(word).exists():
            inside = [Path(path) for path in sorted(glob.glob(word))]  # noqa: PTH207 (words may be absolute)
            matching = [path for path in map(_run_of, inside) if path is not None]
            if not matching:
                raise UserError(f"{word} matches no run")
            found += matching
            continue
        found.append(find_run(word))
    return list(dict.fromkeys(found))


def find_run(word: str) -> Path:
    """The run folder that a word names: a folder, a name in lightning_logs, or a checkpoint.

    Raises:
        UserError: there is none.
    """
    run = _run_of(Path(expand_home(word))) or _run_of(Path(run_folder.LOGS, word))
    if run is None:
        raise UserError(f"there is no run {word}: give its folder, name or checkpoint; lit-cnn runs lists them")
    return run


def _run_of(path: Path) -> Path | None:
    """The run folder that a path is, or is in; ``None`` if there is none."""
    if path.is_file() and path.suffix == ".ckpt":
        path = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return path if path.is_dir() and run_folder.holds_training(path) else None


def _predictions(run: Path, split: str) -> Path:
    """The newest predictions of a run for a split."""
    found = [path for path in run.glob(f"{split}*/predictions.csv") if path.parent.name.split("_")[0] == split]
    if not found and split == "validate":
        found = [path for path in (run / "val" / "predictions.csv",) if path.is_file()]  # fit's, of the best epoch
    if not found:
        raise UserError(f"{run} has no {split} predictions: lit-cnn {split} --ckpt_path {run} makes them")
    return max(found, key=lambda path: path.stat().st_mtime)


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of run folders, with as much of their paths as tells them apart."""
    for parts in range(1, max(len(folder.absolute().parts) for folder in folders) + 1):
        names = ["/".join(part for part in folder.absolute().parts[-parts:]) for folder in folders]
        names = [name.replace(f"/{run_folder.LOGS}/", "/") for name in names]
        if len(set(names)) == len(names):
            break
    return names


def _settings(run: Path) -> dict[str, Any]:
    """Settings of a run, flat, apart from those that say where it was written."""
    import yaml

    try:
        content = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    flat: dict[str, Any] = {}
    _flatten(content if isinstance(content, dict) else {}, "", flat)
    return {name: value for name, value in flat.items() if not name.startswith(PLACES)}


def _flatten(content: Mapping[str, Any], prefix: str, flat: dict[str, Any]) -> None:
    for key, value in content.items():
        name = prefix.rstrip(".") if key == "class_path" else prefix if key == "init_args" else f"{prefix}{key}"
        if isinstance(value, dict) and value:
            _flatten(value, name if name.endswith(".") else f"{name}.", flat)
        else:
            flat[name] = value


def _sentence(names: Sequence[str], evaluations: Sequence[Evaluation], pairs: Sequence[Difference]) -> str:
    """What the comparison says, in words."""
    images, best = len(evaluations[0].files), max(range(len(names)), key=lambda i: evaluations[i].correct.sum())
    against = [pair for pair in pairs if best in (pair.first, pair.second)]
    worse = [pair for pair in against if pair.told_apart]
    if len(worse) == len(against):
        return f"{names[best]} is better than all others on these {images:,} images, by more than chance."
    if not worse:
        equal = "the two runs" if len(names) == 2 else f"{names[best]} from any other run"
        return f"{images:,} images do not tell {equal} apart: the differences may be chance."
    equal = ", ".join(names[p.second if p.first == best else p.first] for p in against if not p.told_apart)
    return f"{images:,} images do not tell {names[best]} apart from {equal}; it is better than the others."


def _seeds_sentence(
    settings: Sequence[Mapping[str, Any]], differing: Sequence[str], evaluations: Sequence[Evaluation]
) -> str:
    """What the comparison says of settings of which there are several seeds; empty without two of them."""
    groups = comparison.group_by_seed(settings, [each.accuracy.value for each in evaluations])
    pairs = comparison.group_differences(groups)
    if not pairs:
        return ""

    def text(group: int) -> str:
        own = settings[groups[group].members[0]]
        return f"{comparison.group_text(own, differing)} ({groups[group].mean:.3f})"

    best = max((pair.first for pair in pairs), key=lambda i: groups[i].mean)
    against = [pair for pair in pairs if pair.first == best]
    largest = max(pair.p for pair in against)
    if all(pair.told_apart for pair in against):
        others = text(against[0].second) if len(against) == 1 else "all others"
        return f"{text(best)} is better than {others} by more than seeds differ (Welch's t-test, p {largest:.2g})."
    equal = ", ".join(text(pair.second) for pair in against if not pair.told_apart)
    return (
        f"The seeds do not tell {text(best)} apart from {equal}: Welch's t-test, p "
        f"{min(pair.p for pair in against if not pair.told_apart):.2g}."
    )


def _table(
    names: Sequence[str],
    settings: Sequence[Mapping[str, Any]],
    differing: Sequence[str],
    evaluations: Sequence[Evaluation],
    pairs: Sequence[Difference],
) -> list[str]:
    """Lines for the terminal: the best run first, the others with their difference to it."""
    order = sorted(range(len(names)), key=lambda i: -int(evaluations[i].correct.sum()))
    best, width = order[0], shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80
    room = max(3, min(max(map(len, names)), max(12, width - 62)))
    lines = [f"{'run':{room}}  accuracy             less than the best      p"]
    for i in order:
        score = evaluations[i].accuracy
        line = f"{_cut(names[i], room):{room}}  {score.value:.3f} ({score.low:.3f}-{score.high:.3f})"
        if i != best:
            pair = next(p for p in pairs if {p.first, p.second} == {i, best})
            low, high = pair.accuracy.low, pair.accuracy.high
            line += f"  {pair.accuracy.value:.3f} ({low:.3f} to {high:.3f})  {pair.p:.2g}"
            line += "" if pair.told_apart else " chance?"
        lines.append(line)
    accuracies = [each.accuracy.value for each in evaluations]
    groups = [group for group in comparison.group_by_seed(settings, accuracies) if len(group.members) > 1]
    for group in groups:
        own = settings[group.members[0]]
        text = comparison.group_text(own, differing) if groups[1:] else ", ".join(names[i] for i in group.members)
        lines.append(f"mean of {len(group.members)} seeds: {group.mean:.3f} ± {group.deviation:.3f} ({text})")
    shown = [name for name in differing if not groups or name != "seed_everything"]
    for setting in shown[:20]:
        values = ", ".join(f"{names[i]} {settings[i].get(setting, '-')}" for i in order)
        lines.append(f"{setting}: {values}")
    if len(shown) > 20:
        lines.append(f"and {len(shown) - 20} more settings that differ")
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else ".." + text[2 - width :]


def _write(
    folder: Path,
    names: Sequence[str],
    folders: Sequence[Path],
    settings: Sequence[Mapping[str, Any]],
    differing: Sequence[str],
    evaluations: Sequence[Evaluation],
    pairs: Sequence[Difference],
    sentence: str,
) -> list[str]:
    """The page, and a table of all images on which the runs disagree; returns lines that name them."""
    from lit_cnn.results.comparison_page import write_comparison_page

    roots = [Path(str(each["data.data_dir"])) for each in settings if each.get("data.data_dir")]
    roots += [run.parent.parent / root for run, root in zip(folders, roots, strict=False) if not root.is_absolute()]

    def picture(name: str) -> str:
        path = next((root / name for root in roots if (root / name).is_file()), None)
        return "" if path is None else file_picture(path)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        table = folder / "disagreements.csv"
        with atomic_write(table, newline="", errors="surrogateescape") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "true", *names])
            for i in comparison.disagreements(evaluations):
                first = evaluations[0]
                writer.writerow([first.files[i], first.true[i], *(each.predicted[i] for each in evaluations)])
        page = folder / "compare.html"
        write_comparison_page(page, names, folders, settings, differing, evaluations, pairs, sentence, picture)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}; choose another --output") from error
    return [f"page: {page}", f"images on which they disagree: {table}"]
