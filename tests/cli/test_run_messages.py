"""The command that a finished run advises works."""

from __future__ import annotations

import re

import pytest

from lit_cnn.cli.main import main
from tests.conftest import TINY, write_pictures


@pytest.mark.parametrize(
    ("fractions", "command"),
    [
        pytest.param((), "test", marks=pytest.mark.slow),
        (("--data.test_fraction=0",), "validate"),
        pytest.param(("--data.val_fraction=0",), "test", marks=pytest.mark.slow),
        (("--data.test_fraction=0", "--data.val_fraction=0"), "predict"),
    ],
)
def test_a_run_without_test_or_validation_images_advises_what_can_be_done(fractions, command, workdir, capsys, fails):
    main(["fit", *TINY, *fractions, "--epochs=1", "--trainer.limit_train_batches=1"])
    out, err = capsys.readouterr()
    validates = "--data.val_fraction=0" not in fractions
    assert ("no validation images: no best.ckpt is written; last.ckpt" in err) is not validates
    saved = {path.name for path in (workdir / "lightning_logs" / "version_0" / "checkpoints").glob("*.ckpt")}
    assert saved == ({"best.ckpt", "last.ckpt"} if validates else {"last.ckpt"})
    advice = re.search(rf"^{command} it: lit-cnn (.*)$", out, re.MULTILINE)
    write_pictures(workdir / "photos", 1, size=8)
    words = advice[1].replace("IMAGES", "photos").split()
    main(words)
    if command != "test":
        assert "there are no test images; --data.test_fraction is 0: " in fails("test", *words[1:3])
    if not validates:
        assert "there are no val images; --data.val_fraction is 0" in fails("validate", *words[1:3])
