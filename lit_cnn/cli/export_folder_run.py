"""Export of weights and their description to a folder: ``lit-cnn export --format timm``."""

from __future__ import annotations

from pathlib import Path

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.checkpoint_data import data_of
from lit_cnn.cli.export_run import folder_for
from lit_cnn.cli.trained_task import trained_task
from lit_cnn.export.model_card import FILE, UNKNOWN
from lit_cnn.export.weights_folder import CONFIG, WEIGHTS, export_folder
from lit_cnn.results.evaluation import format_score
from lit_cnn.run_folder import format_path, run_folder_of
from lit_cnn.utils.console import say


def export_folder_run(
    record: CheckpointRecord,
    style: str,
    out: Path | None,
    most: int,
    data_dir: str | None,
    allow_import: list[str],
    license_name: str | None = None,
) -> Path:
    """Write the folder, print its proof, and return its path.

    Args:
        record: of the checkpoint.
        style: one of ``export.weights_folder.STYLES``.
        out: where the folder goes; None: ``export`` in the run's folder, or here for a checkpoint elsewhere.
        most: images of the proof; 0: all.
        data_dir: where the images are now; None: where the run read them.
        allow_import: packages that the user allows.
        license_name: for the model card; None: it says that there is none.

    Raises:
        UserError: see :func:`lit_cnn.export.weights_folder.export_folder`; or the folder cannot be written.
    """
    task = trained_task(record, f"export in the format {style}").float()
    data = data_of(record, data_dir, allow_import)
    run = run_folder_of(record.path)
    parent = out or (Path() if run is None else run / "export")
    folder = parent / f"{record.path.stem}_{style}"
    with folder_for(folder):
        proof, runner = export_folder(record, task, data, style, folder, most, license_name or UNKNOWN)
    say(f"proof: {proof.sentence()}")
    if proof.labelled:
        before = f"checkpoint {proof.right_before / proof.labelled:.4f}"
        say(f"accuracy on them: {format_score(proof.accuracy)}, {before}")
    backbone = str(record.config["model"]["backbone"])
    if not backbone.startswith("timm/"):
        say(f"timm has no network {backbone}: {CONFIG} is lit-cnn's own, {WEIGHTS} loads by `model.weights`")
    elif not runner.by_timm:
        say("timm's transforms cannot prepare images as this run did: they were prepared by lit-cnn in the proof")
    else:
        say("the proof's images were prepared by timm's transforms, the network was built by timm")
    size = (folder / WEIGHTS).stat().st_size / 1e6
    say(f"saved {format_path(folder)}: {WEIGHTS} ({size:,.1f} MB), {CONFIG}, {FILE}")
    return folder
