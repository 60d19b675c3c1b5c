"""results.png: drawn whatever the run was like and however it ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lit_cnn.callbacks import Curves, MetricsCSV, curves
from lit_cnn.cli.main import main
from lit_cnn.results.curves import _mark_best, epochs_done, plot_curves
from tests.callbacks.tiny_run import TinyData, TinyModel, tiny_trainer
from tests.conftest import TINY

pytestmark = pytest.mark.usefixtures("real_figures")


def is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        return image.format == "PNG" and image.width >= 800 and len(np.unique(np.asarray(image.convert("L")))) > 20


def fit(run_dir: Path, model: TinyModel | None = None, **settings: Any) -> None:
    trainer = tiny_trainer(Curves(**settings), logger=MetricsCSV(run_dir), max_epochs=2)
    trainer.fit(model or TinyModel(), datamodule=TinyData())


def rows_of(*cells: tuple[int | None, int, dict[str, str]]) -> list[dict[str, str]]:
    return [{"step": str(s), **values, **({"epoch": str(e)} if e is not None else {})} for e, s, values in cells]


def test_a_finished_run_has_its_figure_and_nothing_else_beside_the_table(tmp_path: Path) -> None:
    fit(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "results.png"]
    assert is_picture(tmp_path / "results.png")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_fails_has_its_figure_too(tmp_path: Path, error: type[BaseException]) -> None:
    class Breaks(TinyModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.global_step == 6:
                raise error("broken")
            return super().training_step(batch, batch_idx)

    with pytest.raises((error, SystemExit)):
        fit(tmp_path, Breaks())
    assert is_picture(tmp_path / "results.png")


def test_a_picture_that_cannot_be_drawn_does_not_hide_why_training_broke_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Breaks(TinyModel):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("the true reason")

    def cannot(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(curves, "plot_curves", cannot)
    with pytest.raises(RuntimeError, match="the true reason"):
        fit(tmp_path, Breaks())
    assert "results.png was not drawn: disk full" in capsys.readouterr().err


def test_a_long_run_is_drawn_on_the_way_with_the_epochs_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[int] = []
    monkeypatch.setattr(curves, "plot_curves", lambda path, *_: lines.append(len(path.read_text().splitlines()) - 1))
    fit(tmp_path, every_seconds=0.0)
    assert lines == [4, 8]  # there is nothing yet before the first epoch
    lines.clear()
    fit(tmp_path / "short")
    assert lines == [8]


def test_without_metrics_csv_there_is_no_figure(tmp_path: Path) -> None:
    trainer = tiny_trainer(Curves(), max_epochs=1, default_root_dir=tmp_path)
    trainer.fit(TinyModel(), datamodule=TinyData())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "table",
    [
        "",
        "epoch,step\n",
        "epoch,step,val/loss,val/acc\n0,9,0.5,0.9\n",
        "epoch,step,train/loss,val/loss,val/acc\n0,9,nan,inf,nan\n1,19,nan,nan,nan\n",
        "epoch,step,lr-SGD/pg1,lr-SGD/pg2,train/loss_step,train/loss_epoch\n,0,0.1,0.2,,\n0,4,,,0.5,\n0,9,,,0.5,0.6\n",
        "epoch,step,train/loss,test/acc\n0,9,1.0,\n1,10,,0.9\n",
    ],
    ids=["empty", "header", "one epoch", "nan", "steps and rates", "test"],
)
def test_every_table_gives_a_figure(tmp_path: Path, table: str) -> None:
    (tmp_path / "metrics.csv").write_text(table)
    plot_curves(tmp_path / "metrics.csv", tmp_path / "results.png", "resnet18")
    assert is_picture(tmp_path / "results.png")


def test_points_lie_at_the_epochs_that_were_done() -> None:
    rows = rows_of((None, 0, {}), (0, 1, {}), (0, 3, {}), (1, 7, {}), (2, 9, {}))  # the third is half done
    np.testing.assert_allclose(epochs_done(rows), [0.25, 0.5, 1.0, 2.0, 2.5])


def test_epochs_may_change_their_length_as_after_resuming_with_another_batch_size() -> None:
    rows = rows_of((0, 3, {}), (1, 5, {}), (2, 7, {}), (3, 15, {}))
    np.testing.assert_allclose(epochs_done(rows), [1.0, 2.0, 3.0, 4.0])


def test_the_title_names_the_best_epoch_and_skips_nan() -> None:
    class Panel:
        def plot(self, *args: Any, **kwargs: Any) -> None:
            pass

    rows = rows_of(*((e, 4 * e + 3, {"val/acc": v}) for e, v in enumerate(["0.5", "nan", "0.91234", "0.7"])))
    assert _mark_best(Panel(), rows, epochs_done(rows), "val/acc") == "best val/acc 0.9123 after 3 epochs"  # type: ignore[arg-type]
    assert _mark_best(Panel(), [], epochs_done([]), "val/acc") == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(("jump", "scale"), [("2.9", "linear"), ("900", "log"), ("nan", "linear")])
def test_the_loss_is_drawn_on_a_log_scale_where_it_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: str, scale: str
) -> None:
    table = tmp_path / "metrics.csv"
    losses = ["2.3", "1.9", jump, "1.5", "1.2"]
    table.write_text("epoch,step,train/loss\n" + "".join(f"{i},{i},{loss}\n" for i, loss in enumerate(losses)))
    drawn: list[str] = []
    monkeypatch.setattr(
        "lit_cnn.results.curves.save_figure", lambda figure, _: drawn.append(figure.axes[0].get_yscale())
    )
    plot_curves(table, tmp_path / "results.png")
    assert drawn == [scale]


class NoCache:
    """Matplotlib cannot be imported, as where it finds no folder for its cache."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "matplotlib.figure":
            raise OSError("Matplotlib requires access to a writable cache directory")


def test_a_run_without_a_folder_for_matplotlibs_cache_ends_well_and_says_why_it_has_no_figure(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoCache(), *sys.meta_path])
    main(["fit", *TINY, "--epochs=1"])
    assert "results.png was not drawn: " in capsys.readouterr().err
    main(["test", "--ckpt_path=best"])
    assert "set MPLCONFIGDIR" in capsys.readouterr().err
    run = workdir / "lightning_logs" / "version_0"
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert {path.suffix for path in (run / "test").iterdir()} == {".csv", ".json", ".jpg", ".zip"}
