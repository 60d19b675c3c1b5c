"""A machine with too little memory, made by a limit on the process."""

from __future__ import annotations

import pytest

from tests.conftest import LENET

from .children import Forked

# After the imports, whose libraries take gigabytes of addresses.
LIMITED = """
import resource, sys
import lit_cnn.cli.commands.run
from lit_cnn.cli.main import main
from pathlib import Path
from lit_cnn.utils.memory import read_fields

limit = read_fields(Path("/proc/self/status"))["VmSize"] + 800 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
words = sys.argv[1:]
try:
    main(["fit", *words, "--batch-size=512"])
except SystemExit as stop:
    print("exit", stop.code, flush=True)
main(["fit", *words, "--batch-size=auto"])
"""


@pytest.mark.slow
def test_too_large_a_batch_is_one_line_and_auto_finds_one_that_trains(workdir):
    words = [
        *LENET,
        "--model.backbone=resnet20",
        "--img-size=64",
        "--workers=0",
        "--steps=2",
        "--trainer.limit_val_batches=1",
    ]
    run = Forked(LIMITED, *words)
    out, err = run.communicate(timeout=100)
    assert run.returncode == 0, err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("lit-cnn: error: ")]
    assert len(lines) == 1, err
    assert "out of memory in fit with batches of 512 images" in lines[0]
    assert "try --batch-size 256 --trainer.accumulate_grad_batches 2" in lines[0]
    assert "--data.batch_size auto" in lines[0]
    assert "exit 2" in out
    number = int(out.split("batch size auto: ")[1].split()[0])
    assert 2 <= number < 128  # less than an eighth of the images: memory was the limit
    # the run that did not fit left no folder behind
    assert [p.name for p in workdir.glob("lightning_logs/*")] == ["version_0"]
    assert (workdir / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt").is_file()
