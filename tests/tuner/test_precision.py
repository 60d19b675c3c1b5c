from __future__ import annotations

import contextlib

import pytest
import torch
import yaml
from jsonargparse import Namespace

from lit_cnn.cli.main import main
from lit_cnn.tuner import precision
from lit_cnn.tuner.precision import Comparison, choose_precision
from tests.conftest import TINY, load, state_differences

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("found", "chosen", "why"),
    [
        (Comparison(3.0, 0.003), "bf16-mixed", "3.0 times as fast as in float32, and its error is 0.3%"),
        (Comparison(1.05, 0.003), "32-true", "1.1 times as fast"),
        (Comparison(3.0, 0.5), "32-true", "but its error is 50.0%"),
        (Comparison(3.0, float("nan")), "32-true", "but its error is nan%"),
    ],
)
def test_bfloat16_is_chosen_only_where_it_is_faster_and_right(found, chosen, why, monkeypatch):
    monkeypatch.setattr(precision, "compare_precision", lambda device, dtype: found)
    name, reason = choose_precision(CPU)
    assert name == chosen
    assert why in reason


def test_a_device_that_cannot_compute_it_gets_float32(monkeypatch):
    def broken(*args):
        raise RuntimeError("bfloat16 is not supported here\nmore")

    monkeypatch.setattr(precision, "compare_precision", broken)
    assert choose_precision(CPU) == (
        "32-true",
        "cpu computes no convolution in bfloat16: bfloat16 is not supported here",
    )


def test_an_older_gpu_gets_float16_with_scaling(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(
        precision, "compare_precision", lambda device, dtype: asked.append(dtype) or Comparison(2.0, 0.001)
    )
    assert choose_precision(torch.device("cuda"))[0] == "16-mixed"
    assert asked == [torch.float16]


@pytest.mark.parametrize(
    ("precision_given", "instructions", "speedup", "told"),
    [
        ("bf16-mixed", False, 0.25, True),
        ("bf16-true", False, 0.25, True),
        ("bf16-mixed", True, 0.25, False),  # a busy machine: the instructions are there
        ("bf16-mixed", False, 1.0, False),
        ("32-true", False, 0.25, False),
    ],
)
def test_a_run_is_told_once_what_bfloat16_costs_on_a_cpu_without_it(
    precision_given, instructions, speedup, told, monkeypatch, capsys
):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: instructions)
    monkeypatch.setattr(precision, "compare_precision", lambda device, dtype: Comparison(speedup, 0.003))
    options = Namespace(precision=precision_given, accelerator="cpu", devices=1, strategy="auto")
    precision.resolve(Namespace(trainer=options), record=None)
    expected = "bfloat16: a convolution takes 4.0 times as long as in"
    assert capsys.readouterr().out.count(expected) == told
    assert options.precision == precision_given


def test_the_probe_measures_rounding_and_leaves_random_numbers_and_threads_alone():
    torch.manual_seed(1)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(1)
    choose_precision(CPU)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    found = precision.compare_precision(CPU, torch.bfloat16)
    assert 1e-4 < found.error < precision.MAX_ERROR
    assert found.speedup > 0


class Event:
    """Stands for ``torch.cuda.Event``: a pass takes 3 ms."""

    passes = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = Event.passes

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return 3.0 * (end.at - self.at)


def test_a_gpu_is_timed_by_events_around_many_queued_passes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.accelerator, "synchronize", None)

    def one_pass():
        Event.passes += 1

    assert precision._seconds(torch.device("cuda"), one_pass) == pytest.approx(0.003)
    assert Event.passes == precision.QUEUED > 1


@pytest.mark.parametrize(
    ("kind", "setting", "supported", "name"),
    [
        ("cuda", "tf32", True, "float32 (computed in TF32)"),
        ("cuda", "tf32", False, "float32"),  # before Ampere
        ("cuda", "ieee", True, "float32"),
        ("cpu", "tf32", True, "float32"),
    ],
)
def test_the_reason_names_tf32(kind, setting, supported, name, monkeypatch):
    monkeypatch.setattr(precision, "compare_precision", lambda device, dtype: Comparison(3.0, 0.003))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: supported)
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = setting
    try:
        assert f"times as fast as in {name}, and" in choose_precision(torch.device(kind))[1]
    finally:
        torch.backends.cudnn.conv.fp32_precision = before


def test_auto_is_resolved_once_and_the_run_keeps_what_was_found(workdir, monkeypatch, capsys):
    monkeypatch.setattr(precision, "choose_precision", lambda device: ("bf16-mixed", "tried"))
    short = [*TINY, "--epochs=1"]
    main(["fit", *short, "--precision=auto", "--trainer.default_root_dir=found"])
    assert "precision auto: bf16-mixed (tried)" in capsys.readouterr().out
    main(["fit", *short, "--precision=bf16-mixed", "--trainer.default_root_dir=given"])
    found, given = (workdir / name / "lightning_logs" / "version_0" for name in ("found", "given"))
    assert yaml.safe_load((found / "config.yaml").read_text())["trainer"]["precision"] == "bf16-mixed"
    last = [run / "checkpoints" / "last.ckpt" for run in (found, given)]
    assert load(last[0])["lit_cnn"]["config"]["trainer"]["precision"] == "bf16-mixed"
    assert state_differences(*last) == []

    monkeypatch.setattr(precision, "choose_precision", None)  # with a checkpoint there is nothing to try
    capsys.readouterr()
    main(["fit", "--resume", str(found), "--epochs=2", "--precision=auto"])
    assert "precision auto: bf16-mixed (that of " in capsys.readouterr().out


def test_processes_that_something_else_started_cannot_share_a_choice(workdir, monkeypatch, fails):
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.delenv("LIT_CNN_PRECISION", raising=False)
    assert "--precision auto cannot be shared" in fails("fit", *TINY, "--precision=auto")


def test_a_wrong_precision_is_refused_with_the_valid_ones(workdir, fails):
    line = fails("fit", *TINY, "--precision=bf17")
    assert "bf16-mixed" in line
    assert "auto" in line
