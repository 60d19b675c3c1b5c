"""Features of the validation images in checkpoints, and images unlike them in predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_cnn.callbacks.ood import HeadTap, read_detector
from lit_cnn.checkpoint.record import KEY, OOD, load_verified
from lit_cnn.cli.main import main
from lit_cnn.interpret.features import head_inputs
from lit_cnn.models import get_model
from lit_cnn.models._freeze import find_head
from lit_cnn.results.prediction_columns import read_predictions
from tests.cli.helpers import rows, run_command
from tests.conftest import EVERY_STEP, LENET, load, state_differences

RUN = Path("lightning_logs", "version_0")


def noise(folder: Path, count: int = 12) -> None:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_noise_is_unlike_digits_and_test_images_mostly_are_not(workdir, capsys):
    main(["fit", *LENET, "--epochs=8"])
    main(["test", "--ckpt_path=best"])
    own = rows(RUN / "test" / "predictions.csv")
    assert list(own[0])[-2:] == ["ood_score", "ood"]
    assert sum(row["ood"] == "true" for row in own) < 0.25 * len(own)
    table = read_predictions(RUN / "test" / "predictions.csv")
    assert table.names == [str(k) for k in range(10)]
    noise(workdir / "noise")
    capsys.readouterr()
    main(["predict", "--ckpt_path=best", "noise"])
    out = " ".join(capsys.readouterr().out.split())
    found = rows(RUN / "predict" / "predictions.csv")
    assert sum(row["ood"] == "true" for row in found) >= 10
    assert "images are unlike the validation images" in out
    assert "(none of these?)" in out


def test_averaging_over_copies_changes_no_score_but_for_the_doubt(workdir):
    main(["fit", *LENET, "--epochs=2"])
    detector = read_detector(load_verified(RUN / "checkpoints" / "best.ckpt")[KEY][OOD])
    assert detector is not None
    main(["test", "--ckpt_path=best", "--raw"])
    main(["test", "--ckpt_path=best", "--raw", "--model.tta=flip"])
    tables = [rows(RUN / name / "predictions.csv") for name in ("test", "test_2")]
    doubt = [np.array([1 - float(row["probability"]) for row in table]) for table in tables]
    score = [np.array([float(row["ood_score"]) for row in table]) for table in tables]
    expected = (doubt[1] - doubt[0]) / detector.doubt[1] / 2
    np.testing.assert_allclose(score[1] - score[0], expected, atol=1e-3)


def test_a_resumed_run_keeps_the_same_bits_and_the_file_is_plain_data(workdir):
    main(["fit", *LENET, "--epochs=2", *EVERY_STEP])
    (RUN / "checkpoints" / "step13.ckpt").rename("middle.ckpt")
    main(["fit", "--ckpt_path=middle.ckpt", "--trainer.default_root_dir=again"])
    paths = [RUN / "checkpoints" / "step20.ckpt", Path("again") / RUN / "checkpoints" / "step20.ckpt"]
    assert state_differences(*paths) == []
    stored = [load(path)[KEY][OOD] for path in paths]
    assert stored[0].keys() == stored[1].keys()
    assert all(torch.equal(torch.as_tensor(stored[0][key]), torch.as_tensor(stored[1][key])) for key in stored[0])


def test_the_first_input_of_the_head_since_the_last_batch_is_kept():
    class Task:
        backbone = get_model("nin", num_classes=5).eval()

    tap, images = HeadTap(), torch.randn(2, 3, 224, 224)
    head = Task.backbone.get_submodule(find_head(Task.backbone))
    tap._hook = head.register_forward_pre_hook(tap._keep)
    with torch.no_grad():
        Task.backbone(images)
        Task.backbone(images.flip(-1))
    found = tap.take()
    tap.stop()
    assert found is not None
    torch.testing.assert_close(found, head_inputs(Task.backbone, images))
    assert tap.take() is None
    assert not head._forward_pre_hooks


@pytest.mark.slow
def test_two_ranks_keep_what_one_does(workdir):
    words = [*LENET, "--epochs=1", "--data.eval_batch_size=32", "--lr=1e-9"]
    run_command(workdir, "fit", *words)
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    run_command(workdir, "fit", *words, *two)
    one, other = (
        read_detector(load_verified(Path("lightning_logs", name, "checkpoints", "best.ckpt"))[KEY][OOD])
        for name in ("version_0", "version_1")
    )
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.bank @ one.basis.T, other.bank @ other.basis.T, atol=2e-3)
    assert (one.threshold, *one.doubt) == pytest.approx((other.threshold, *other.doubt), abs=1e-2)
