"""The progress bar: what it prints, when it waits for the device, and that it restores the terminal."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.console import Console

from lit_cnn.callbacks import ProgressBar, progress_bar
from lit_cnn.utils.console import Display
from lit_cnn.utils.throughput import Meter, clock, number, speed
from tests.callbacks.tiny_run import TinyData, TinyModel, tiny_trainer

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
EPOCH_LINE = re.compile(
    r"epoch \d/3  loss \d\.\d{3} acc \d\.\d{3}  val/loss \d\.\d{3} acc \d\.\d{3} +[\d,.]+ img/s +[\d.]+ s"
)


def plain(**settings: Any) -> tuple[ProgressBar, io.StringIO]:
    out = io.StringIO()
    return ProgressBar(console=Console(file=out), **settings), out


def on_terminal(width: int = 120, **settings: Any) -> tuple[ProgressBar, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, _environ={"TERM": "xterm-256color"})
    return ProgressBar(console=console, **settings), out


def at(line: str) -> tuple[str, str]:
    """The epoch of a line, and the batch if it names one."""
    found = re.match(r"epoch +(\S+)(?:.* batch (\S+))?", line)
    assert found is not None
    return found[1], found[2] or ""


def fit(progress: ProgressBar, model: TinyModel | None = None, **settings: Any) -> Trainer:
    trainer = tiny_trainer(progress, **settings)
    trainer.fit(model or TinyModel(), datamodule=TinyData())
    return trainer


def test_without_a_terminal_there_is_one_plain_line_an_epoch() -> None:
    progress, out = plain()
    fit(progress)
    lines = out.getvalue().splitlines()
    assert [line[:9] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(EPOCH_LINE.fullmatch(line) for line in lines)
    assert not CONTROL.search(out.getvalue())


def test_force_color_does_not_put_control_characters_into_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    fit(ProgressBar())
    assert not CONTROL.search(capsys.readouterr().out)


def test_a_long_epoch_gets_lines_on_the_way() -> None:
    progress, out = plain(line_seconds=0.0)
    fit(progress, max_epochs=1, limit_val_batches=0)
    *on_the_way, last = out.getvalue().splitlines()
    assert [at(line) for line in on_the_way] == [("1/1", f"{n}/4") for n in (1, 2, 3, 4)]
    assert all(re.search(r"loss .* acc .* left .* img/s", line) for line in on_the_way)
    assert re.match(r"epoch 1/1  loss \d\.\d{3} acc \d\.\d{3}  +[\d,]+ img/s", last)


def test_a_terminal_gets_a_bar_and_keeps_a_line_for_each_epoch() -> None:
    progress, out = on_terminal(refresh_seconds=0.0)
    fit(progress, num_sanity_val_steps=1)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())
    assert len(EPOCH_LINE.findall(text)) == 3
    assert re.search(r"epoch 2/3 .* 3/4 loss \d\.\d{3} acc \d\.\d{3} .*img/s .* left", text)
    assert re.search(r"validate .* 2/3", text)
    assert "sanity check" in text
    assert out.getvalue().rfind(SHOW_CURSOR) > out.getvalue().rfind(HIDE_CURSOR) > -1


def test_a_narrow_terminal_has_room_for_the_bar() -> None:
    progress, out = on_terminal(width=80, refresh_seconds=0.0)
    fit(progress)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())
    assert re.search(r"epoch 2/3 \S{5,} 3/4 loss \d\.\d{3} acc \d\.\d{3} .*img/s .* left", text)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_terminal_is_given_back_when_training_breaks_off(error: type[BaseException]) -> None:
    class Breaks(TinyModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.global_step == 6:
                raise error("broken")
            return super().training_step(batch, batch_idx)

    progress, out = on_terminal()
    with pytest.raises((error, SystemExit)):
        fit(progress, Breaks())
    assert out.getvalue().rfind(SHOW_CURSOR) > out.getvalue().rfind(HIDE_CURSOR) > -1
    assert out.getvalue().rstrip().endswith("stopped in epoch 2/3 after batch 2/4")


@pytest.mark.parametrize("make", [plain, on_terminal])
def test_the_device_is_not_waited_for_between_refreshes(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    reads: list[str] = []
    inside = ProgressBar.on_train_batch_end

    def watched(self: ProgressBar, *args: Any) -> None:
        with monkeypatch.context() as patch:
            for name in ("item", "__float__", "__bool__", "tolist", "cpu"):
                patch.setattr(torch.Tensor, name, lambda *_, name=name: reads.append(name) or 0.0)
            inside(self, *args)

    monkeypatch.setattr(ProgressBar, "on_train_batch_end", watched)
    fit(make(refresh_seconds=1000.0, line_seconds=1000.0)[0])
    assert reads == []
    fit(make(refresh_seconds=0.0, line_seconds=0.0)[0])
    assert reads  # so the watch does see reads


def test_a_run_resumed_within_an_epoch_continues_at_the_right_batch(tmp_path: Path) -> None:
    class Stateful(TinyData):
        def train_dataloader(self) -> Any:
            loader = super().train_dataloader()
            loader.state_dict, loader.load_state_dict = dict, lambda state: None
            return loader

    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    first = tiny_trainer(saver, enable_checkpointing=True)
    first.fit(TinyModel(), datamodule=Stateful())
    progress, out = plain(line_seconds=0.0)
    second = tiny_trainer(progress, limit_val_batches=0)
    second.fit(TinyModel(), datamodule=Stateful(), ckpt_path=tmp_path / "step=6.ckpt")
    lines = [at(line) for line in out.getvalue().splitlines()]
    assert lines[:4] == [("2/3", "3/4"), ("2/3", "4/4"), ("2/3", ""), ("3/3", "1/4")]

    progress, out = on_terminal()
    fit_again = tiny_trainer(progress, limit_val_batches=0)
    fit_again.fit(TinyModel(), datamodule=Stateful(), ckpt_path=tmp_path / "step=6.ckpt")
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())
    assert re.search(r"epoch 2/3 \S+ +2/4", text)


def test_the_running_loss_is_that_of_a_batch_also_when_gradients_are_accumulated() -> None:
    numbers = []
    for accumulate in (1, 2):
        progress, out = plain(line_seconds=0.0)
        fit(progress, max_epochs=1, limit_train_batches=1, accumulate_grad_batches=accumulate)
        numbers.append(re.findall(r"loss (\S+) .* batch 1/1", out.getvalue()))
    assert numbers[0] == numbers[1] != []


def test_accuracy_logged_per_step_is_shown_where_the_step_does_not_return_it() -> None:
    class Logs(TinyModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            found = super().training_step(batch, batch_idx)
            self.log("train/acc", found["acc"], on_step=True, on_epoch=False)
            return found["loss"]

        def on_train_epoch_end(self) -> None:
            pass

    progress, out = plain(line_seconds=0.0)
    fit(progress, Logs(), max_epochs=1)
    lines = [line for line in out.getvalue().splitlines() if " batch " in line and "epoch" in line]
    assert lines
    assert all(re.search(r"acc \d", line) for line in lines)


def test_validation_of_an_earlier_epoch_is_not_repeated() -> None:
    progress, out = plain()
    fit(progress, check_val_every_n_epoch=2)
    assert ["val/loss" in line for line in out.getvalue().splitlines()] == [False, True, False]


def test_other_processes_write_nothing() -> None:
    progress, out = plain(line_seconds=0.0)
    progress.disable()
    trainer = fit(progress)
    trainer.test(TinyModel(), datamodule=TinyData(), verbose=False)
    assert out.getvalue() == ""


@pytest.mark.parametrize("run", ["validate", "test", "predict"])
def test_every_evaluation_has_a_bar_and_a_line(run: str) -> None:
    count = {"validate": 3, "test": 6, "predict": 6}[run]
    settings = {"verbose": False} if run != "predict" else {}
    for progress, out in (plain(), on_terminal(refresh_seconds=0.0)):
        getattr(tiny_trainer(progress), run)(TinyModel(), datamodule=TinyData(), **settings)
        line = rf"{run}  {count}/{count} batches  [\d,.]+ img/s  \d\.\d s"
        assert re.search(line, out.getvalue())
        assert bool(CONTROL.search(out.getvalue())) == progress.console.is_terminal


def test_a_run_by_steps_without_epochs_has_an_end() -> None:
    progress, out = plain(line_seconds=0.0)
    fit(progress, max_epochs=-1, max_steps=6)
    lines = out.getvalue().splitlines()
    assert at(lines[0]) == ("1", "1/4")
    assert ("2", "2/2") in [at(line) for line in lines if line.startswith("epoch")]
    assert "?" not in lines[0]


def visible(text: str) -> list[str]:
    """What a terminal shows, one string for every time a line was drawn."""
    return [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)) if line.strip()]


@pytest.mark.parametrize("width", [40, 80])
def test_the_bar_keeps_its_height_and_every_column(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []
    drawn = Display.show

    def show(self: Display, *args: Any) -> None:
        drawn(self, *args)
        assert self._bars is not None
        lines = self.console.render_lines(self._bars.get_renderable(), pad=False)
        bars.append("".join("".join(segment.text for segment in line) for line in lines))

    monkeypatch.setattr(Display, "show", show)
    progress, out = on_terminal(width=width, refresh_seconds=0.0)
    fit(progress, max_epochs=10, limit_train_batches=2, limit_val_batches=1)
    assert {len(bar) for bar in bars} == {width}, "one line, as wide as the terminal"
    counts = {bar.index("/2", 12) for bar in bars if bar.startswith("epoch")}
    assert len(counts) == 1
    assert {bar.rindex("left") for bar in bars if bar.startswith("epoch")} == {width - 4}
    assert max(map(len, visible(out.getvalue()))) <= width


@pytest.mark.parametrize("epochs", [12, 100])
def test_numbers_keep_their_columns_from_line_to_line(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Varies(TinyModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            found = super().training_step(batch, batch_idx)
            factor = (1.0, 30.0, 2e5, 1e-4)[self.current_epoch % 4]
            return {**found, "loss": found["loss"] * factor}

    monkeypatch.setattr(progress_bar, "time", SimpleNamespace(monotonic=itertools.count(0.0, 7.3).__next__))
    progress, out = plain(line_seconds=0.0)
    fit(progress, Varies(), max_epochs=epochs, max_steps=24, check_val_every_n_epoch=2, limit_train_batches=2)
    lines = [line for line in out.getvalue().splitlines() if line.startswith("epoch")]
    assert len(lines) == 3 * 12
    assert max(map(len, lines)) <= 80
    for word in (" loss ", " acc ", "val/loss", "img/s"):
        assert len({line.index(word) for line in lines if word in line}) == 1


def test_printing_does_not_break_the_bar() -> None:
    progress, out = on_terminal()
    progress.print("[bold]", 3)
    assert "[bold] 3" in out.getvalue()


def test_a_bar_of_unknown_length_is_drawn() -> None:
    out = io.StringIO()
    display = Display(Console(file=out, force_terminal=True, width=80, _environ={"TERM": "xterm"}))
    display.show("epoch 1", 3, float("inf"), "")
    display.close()
    display.close()
    assert "3/?" in out.getvalue()


def test_the_meter_excludes_pauses_and_the_first_batch() -> None:
    meter = Meter()
    meter.resume(0.0)
    assert meter.seconds_per_batch is None
    meter.step(8, 5.0)  # the first takes long
    assert meter.seconds_per_batch == 5.0
    meter.step(8, 6.0)
    meter.pause()
    meter.resume(100.0)
    meter.step(8, 101.0)
    assert meter.images_per_second == 8.0
    assert meter.seconds_per_batch == 1.0
    assert (meter.seconds, meter.images, meter.batches) == (7.0, 24, 3)


def test_the_meter_follows_a_change_of_speed() -> None:
    meter, now = Meter(window=10.0), 0.0
    meter.resume(now)
    for seconds in [1.0] * 50 + [0.1] * 200:
        now += seconds
        meter.step(1, now)
    assert meter.images_per_second == pytest.approx(10.0, rel=0.15)


def test_numbers_are_short_and_readable() -> None:
    assert [clock(s) for s in (None, 0.04, 9.96, 59.4, 59.6, 200, 3723)] == [
        *("?", "0.0 s", "10 s", "59 s", "1:00", "3:20", "1:02:03")
    ]
    assert [number(v) for v in (0.41199, 0.0, 1.2e-5, float("nan"))] == ["0.412", "0.000", "1e-05", "nan"]
    assert [speed(v) for v in (1234.4, 3.21)] == ["1,234 img/s", "3.2 img/s"]
