"""Resuming with another order of the samples: refused with a diff, or inexact with a note."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lit_cnn.callbacks import run_metadata
from lit_cnn.callbacks.run_metadata import RunMetadata
from lit_cnn.checkpoint import compatibility
from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from lit_cnn.cli.main import main
from tests.callbacks.test_last_checkpoint import Fail
from tests.conftest import TINY, load, write_pictures
from tests.faults.harness import last

WORDS = ["fit", *TINY, "--epochs=3"]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a run stopped in the middle of its second epoch, after 14 of 30 steps; not to be changed."""
    root = tmp_path_factory.mktemp("stopped")
    with pytest.raises(RuntimeError):
        run_command(parse([*WORDS, f"--trainer.default_root_dir={root}"]), callbacks=[Fail(14, "on_before_backward")])
    return root


@pytest.fixture
def root(stopped: Path, workdir: Path) -> Path:
    return Path(shutil.copytree(stopped, workdir / "root"))


CHANGES = {
    "--batch-size=64": "batch size 128 -> 64",
    "--seed=7": "seed 42 -> 7",
    "--data.split_seed=3": "split (hash)",
    "--data.val_fraction=0.3": "training images 1259 -> ",
    "--data.augment.crop_padding=1": "augment.crop_padding 2 -> 1",
    "--trainer.accumulate_grad_batches=2": "accumulated batches 1 -> 2",
}


@pytest.mark.parametrize("flag", CHANGES)
def test_a_change_of_what_decides_the_order_is_refused_with_a_diff_and_nothing_is_touched(flag, root, fails) -> None:
    logs = ("tfevents", "log.txt")
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    error = fails("fit", "--resume", flag, f"--trainer.default_root_dir={root}")
    assert "cannot be resumed exactly, because these differ (checkpoint -> now): " in error
    assert CHANGES[flag] in error
    assert "--resume_anyway" in error
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and not any(map(p.name.__contains__, logs))} == {
        p: content for p, content in before.items() if not any(map(p.name.__contains__, logs))
    }


@pytest.mark.parametrize("flag", ["--batch-size=64", "--batch-size=300", "--batch-size=1259", "--seed=7"])
def test_with_resume_anyway_the_run_continues_near_the_same_batch_and_says_that_it_is_inexact(
    flag, root, capsys
) -> None:
    main(["fit", "--resume", "--resume_anyway", flag, f"--trainer.default_root_dir={root}"])
    assert f"resume_anyway: from here on this run differs from one that was never stopped: {CHANGES.get(flag, '')}" in (
        capsys.readouterr().out
    )
    run = last(root).parent.parent
    assert (run / "config.yaml").read_text().splitlines()[1].startswith("# resumed inexactly at step 14: ")
    content = load(last(root))
    size = int(flag.split("=")[1]) if "batch" in flag else 128
    per_epoch = -(-1259 // size)
    left = per_epoch - min(4 * 128 // size, max(0, 1259 // size - 1))  # 4 batches of 128 were done in that epoch
    assert content["global_step"] == 14 + left + per_epoch
    assert content["epoch"] == 2


def test_the_schedule_resumes_at_the_same_share_of_the_run_with_another_batch_size(root) -> None:
    main(["fit", "--resume", "--resume_anyway", "--batch-size=64", f"--trainer.default_root_dir={root}"])
    rates = [
        float(line.split(",")[-1]) for line in (root / "lightning_logs/version_0/metrics.csv").read_text().split()[1:]
    ]
    assert rates[0] > rates[1] > rates[2]
    assert 0.1 < rates[1] / 0.003 < 0.9, "after two thirds of one cycle"
    assert rates[2] < 1e-6


def test_what_may_change_is_not_refused(root) -> None:
    main(["fit", "--resume", "--lr=0.001", "--epochs=2", "--workers=1", f"--trainer.default_root_dir={root}"])


def test_resume_anyway_without_a_resume_is_refused(workdir, fails) -> None:
    assert "nothing to resume" in fails(*WORDS, "--resume_anyway")


def test_added_and_changed_images_are_refused_moved_ones_are_not(workdir, fails) -> None:
    for name in ("cat", "dog"):
        write_pictures(workdir / "photos" / name, 12)
    words = ["--data=ImageFolder", "--data-dir=photos", "--img-size=32", "--model.backbone=lenet_color", "-b=8"]
    main(["fit", *words, "--epochs=1"])
    (workdir / "photos").rename(workdir / "moved")
    main(["fit", "--resume", "--data-dir=moved", "--epochs=2"])
    write_pictures(workdir / "moved" / "cat", 1, seed=9, size=90)
    error = fails("fit", "--resume", "--data-dir=moved", "--epochs=3")
    assert "images (hash)" in error


def test_resume_auto_starts_a_run_and_then_resumes_it(workdir, capsys) -> None:
    main([*WORDS, "--epochs=1", "--resume", "auto"])
    assert "checkpoint:" not in capsys.readouterr().out
    main([*WORDS, "--epochs=2", "--resume", "auto"])
    assert "checkpoint: lightning_logs/version_0/checkpoints/last.ckpt (step 10)" in capsys.readouterr().out
    assert [p.name for p in Path("lightning_logs").iterdir()] == ["version_0"]
    assert load(last(workdir))["global_step"] == 20


# -- the bits: device, torch version, precision


def rewrite(path: Path, change: dict[str, object] | None) -> None:
    """Change what a checkpoint says about the bits; None removes it, as in one of an earlier version."""
    content = load(path)
    own = content["lit_cnn"]
    del own["content_hash"]
    own["order"] = {k: v for k, v in own["order"].items() if change is not None or k not in compatibility.NUMERICS}
    own["order"] |= change or {}
    torch.save(content, path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ""),
        (None, ""),
        ({"torch": "1.0", "device": "NVIDIA H100", "benchmark": True}, "device NVIDIA H100 -> CPU ("),
        ({"precision": "bf16-mixed"}, "precision bf16-mixed -> 32-true"),
        ({"threads": 99}, "CPU threads 99 -> "),
    ],
)
def test_another_device_torch_or_precision_is_told_and_not_refused(change, told, root, capsys) -> None:
    rewrite(last(root), change)
    main(["fit", "--resume", "--epochs=2", f"--trainer.default_root_dir={root}"])
    out = capsys.readouterr().out
    assert ("note: the bits can differ from those of a run that was never stopped" in out) == bool(told)
    assert told in out
    header = (last(root).parent.parent / "config.yaml").read_text().splitlines()[1]
    assert header.startswith("# resumed inexactly at step 14: ") == bool(told)
    assert load(last(root))["lit_cnn"]["order"].keys() >= {"device", "torch", "precision", "threads"}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A trainer on a GPU, as far as the resume key goes."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    strategy = SimpleNamespace(root_device=torch.device("cuda", 0))
    task = SimpleNamespace(hparams={})
    return SimpleNamespace(strategy=strategy, precision="16-mixed", lightning_module=task)


@pytest.mark.parametrize(
    ("deterministic", "benchmark", "needed"),
    [
        (False, False, "`trainer.deterministic=true`"),
        (False, True, "`trainer.deterministic=true`"),
        ("warn", False, "`trainer.deterministic=true`"),
        (True, True, "`trainer.benchmark=false`"),
        (True, False, ""),
    ],
)
def test_the_key_of_a_gpu_holds_what_decides_its_bits(deterministic, benchmark, needed, gpu, monkeypatch, capsys):
    torch.use_deterministic_algorithms(bool(deterministic), warn_only=deterministic == "warn")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", benchmark)
    key = compatibility._numerics(gpu)
    torch.use_deterministic_algorithms(False)
    version = str(torch.__version__)
    bits = {"deterministic": deterministic, "benchmark": benchmark}
    assert key == {"device": "NVIDIA H100", "torch": version, "precision": "16-mixed", **bits}
    assert compatibility.needed_to_repeat(key) == needed
    # said once when training starts
    monkeypatch.setattr(run_metadata, "resume_key", lambda trainer: key)
    RunMetadata({}, Path()).setup(gpu, torch.nn.Module(), "fit")
    assert ("on a GPU a run repeats, and resumes, bit for bit only with " in capsys.readouterr().out) == bool(needed)
