"""Every option of ``--checkpoint.*`` does what one would expect, or is refused with a reason."""

from __future__ import annotations

import inspect
import shutil

import pytest
from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_cnn.cli.checkpoint_options import check_checkpoint_options
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier
from tests.cli.helpers import rows
from tests.conftest import LENET, TINY, load, mostly_slow, state_differences

DEFAULTS = {
    **{n: p.default for n, p in inspect.signature(ModelCheckpoint).parameters.items()},
    **{"filename": "best", "monitor": "val/acc", "mode": "max", "auto_insert_metric_name": False},
}


def config(callbacks: list | None = None, **options: object) -> Namespace:
    """Parsed settings with these options of the checkpoint."""
    return Namespace(checkpoint=Namespace(**{**DEFAULTS, **options}), trainer=Namespace(callbacks=callbacks))


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"dirpath": "x"}, ["dirpath cannot be set"]),
        ({"save_last": True}, ["save_last cannot be set"]),
        ({"save_last": "link"}, ["save_last cannot be set"]),
        ({"save_on_exception": True}, ["save_on_exception cannot be set"]),
        ({"save_weights_only": True}, ["save_weights_only cannot be set", "test, predict"]),
        ({"monitor": "val_loss"}, ["'val_loss'", "'val/loss'"]),
        ({"save_top_k": -2}, ["save_top_k -2"]),
        ({"save_top_k": 2, "monitor": None}, ["monitor is null"]),
        ({"every_n_epochs": 0}, ["every_n_epochs 0"]),
        ({"every_n_train_steps": -1, "monitor": None}, ["every_n_train_steps -1"]),
        ({"every_n_epochs": 2, "every_n_train_steps": 5}, ["exclude each other"]),
        ({"every_n_train_steps": 5}, ["saves between validations", "--checkpoint.monitor null"]),
        ({"train_time_interval": "0:01:00"}, ["saves between validations", "--checkpoint.monitor null"]),
        ({"filename": "last"}, ["another checkpoint"]),
        ({"filename": "previous"}, ["another checkpoint"]),
        ({"filename": "{val_acc}"}, ["'val_acc'", "'val/acc'"]),
        ({"filename": "{epoch"}, ["--checkpoint.filename {epoch"]),
        ({"filename": "{val/acc:3q}"}, ["--checkpoint.filename {val/acc:3q}"]),
        ({"filename": "x", "save_top_k": -1, "monitor": None}, ["{epoch} or {step}"]),
        ({"filename": "x", "save_top_k": 2, "enable_version_counter": False}, ["{epoch} or {step}"]),
    ],
    ids=str,
)
def test_what_would_lose_or_misname_the_best_is_refused(options, parts):
    with pytest.raises(UserError) as error:
        check_checkpoint_options(config(**options), ImageClassifier.measured)
    assert all(part in str(error.value) for part in parts)
    assert len(str(error.value)) <= 240


def test_a_users_own_checkpoint_of_weights_alone_is_refused_too():
    item = Namespace(
        class_path="lightning.pytorch.callbacks.ModelCheckpoint", init_args=Namespace(save_weights_only=True)
    )
    with pytest.raises(UserError, match="save_weights_only"):
        check_checkpoint_options(config([item]), ImageClassifier.measured)


WORK = [
    ("save_top_k=3",),
    ("save_top_k=3", "enable_version_counter=false"),
    ("save_top_k=-1",),
    ("save_top_k=0",),
    ("filename={epoch}-{val/acc:.3f}",),
    ("filename={epoch}-{val/acc:.3f}", "auto_insert_metric_name=true", "save_top_k=2"),
    ("filename=mine", "save_top_k=2"),
    ("every_n_epochs=2",),
    ("monitor=val/loss",),
    ("monitor=train/loss", "save_top_k=2"),
    ("monitor=val/acc_top5",),
    ("save_top_k=-1", "monitor=null"),
    ("verbose=true",),
]


@pytest.mark.parametrize("options", mostly_slow(WORK, WORK[0]), ids=" ".join)
def test_best_is_the_best_whatever_the_options(options, workdir, capsys):
    words = [f"--checkpoint.{option}" for option in options]
    main(["fit", *LENET, "--lr=0.05", "--epochs=4", *words])
    run = workdir / "lightning_logs" / "version_0"
    best = run / "checkpoints" / "best.ckpt"
    settings = {**DEFAULTS, **dict(option.split("=", 1) for option in options)}
    assert best.is_file() == (str(settings["save_top_k"]) != "0" and settings["monitor"] != "null")
    if best.is_file():
        monitor, every = settings["monitor"], int(settings["every_n_epochs"] or 1)
        scores = {int(row["epoch"]): float(row[monitor]) for row in rows(run / "metrics.csv")}
        candidates = {epoch: score for epoch, score in scores.items() if (epoch + 1) % every == 0}
        extreme = (min if monitor.endswith("loss") else max)(candidates.values())
        assert candidates[load(best)["epoch"]] == extreme
        assert (
            f"best {monitor} {extreme:.4f}: lightning_logs/version_0/checkpoints/best.ckpt" in capsys.readouterr().out
        )
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert [path for path in run.rglob("*.ckpt") if path.parent != run / "checkpoints"] == []


@pytest.mark.slow
@pytest.mark.parametrize("options", WORK[:8], ids=" ".join)
def test_a_resumed_run_keeps_the_same_checkpoints(options, workdir):
    words = ["fit", *TINY, "--model.lr_scheduler=constant", *(f"--checkpoint.{option}" for option in options)]
    main([*words, "--epochs=4", "--trainer.default_root_dir=straight"])
    main([*words, "--epochs=3", "--trainer.default_root_dir=resumed"])
    folders = [workdir / root / "lightning_logs" / "version_0" / "checkpoints" for root in ("straight", "resumed")]
    shutil.copy(folders[1] / "last.ckpt", folders[1] / "epoch3.ckpt")  # as left by a run that was killed after it
    main(["fit", "--resume", "--epochs=4", "--trainer.default_root_dir=resumed"])
    assert state_differences(*(folder / "last.ckpt" for folder in folders)) == []
    for path in folders[0].glob("best.ckpt"):
        assert load(path)["epoch"] == load(folders[1] / path.name)["epoch"]
