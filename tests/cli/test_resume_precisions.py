"""Every precision: a resumed run ends with the bits of one that was not stopped, and is evaluated with its own bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_cnn.cli.main import main
from tests.conftest import TINY, load, mostly_slow, state_differences
from tests.faults.harness import last

# The rate must not depend on the number of epochs.
WORDS = ["fit", *TINY, "--model.lr_scheduler=constant", "--trainer.limit_train_batches=3"]
DTYPES = {
    "64-true": torch.float64,
    "32-true": torch.float32,
    "bf16-true": torch.bfloat16,
    "16-true": torch.float16,
    "bf16-mixed": torch.float32,
    "16-mixed": torch.float32,
}


@pytest.mark.parametrize("precision", mostly_slow(DTYPES, "64-true"))
def test_a_resumed_run_ends_with_the_same_bits(precision: str, workdir: Path) -> None:
    words = [*WORDS, f"--trainer.precision={precision}", "--model.optimizer=sgd"]  # AdamW divides by 0 in float16
    main([*words, "--epochs=2", "--trainer.default_root_dir=straight"])
    main([*words, "--epochs=1", "--trainer.default_root_dir=parts"])
    main(["fit", "--resume", "--epochs=2", "--trainer.default_root_dir=parts"])
    first, second = last(workdir / "straight"), last(workdir / "parts")
    assert {w.dtype for w in load(first)["state_dict"].values() if w.is_floating_point()} == {DTYPES[precision]}
    assert state_differences(first, second) == []
    tables = [(run.parents[1] / "metrics.csv").read_bytes() for run in (first, second)]
    assert tables[0] == tables[1]


def test_a_checkpoint_in_double_precision_is_evaluated_with_its_own_bits(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main([*WORDS, "--trainer.precision=64-true", "--epochs=1"])
    seen = {}

    def remember(self, *args: object) -> None:
        seen.update({f"backbone.{k}": v.clone() for k, v in self.backbone.state_dict().items()})

    monkeypatch.setattr("lit_cnn.tasks.classification.ImageClassifier.on_test_start", remember)
    main(["test", "--ckpt_path", str(last(workdir))])
    stored = load(last(workdir))["state_dict"]
    assert all(torch.equal(stored[name], tensor) for name, tensor in seen.items())
    assert seen


@pytest.mark.parametrize("name", ["transformer-engine", "transformer-engine-float16"])
def test_a_precision_for_transformers_is_refused_in_one_line(name: str, workdir: Path, fails) -> None:
    assert fails(*WORDS, f"--trainer.precision={name}", "--epochs=1").startswith(f"--precision {name} is for linear")
    assert not (workdir / "lightning_logs").exists()
