"""Knowledge distillation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lit_cnn.cli.main import main
from lit_cnn.data import Digits
from lit_cnn.errors import UserError
from lit_cnn.tasks.distillation import Teacher, distillation_loss, label_distillation_loss
from tests.cli.helpers import rows
from tests.conftest import EVERY_STEP, LENET, TINY, load, state_differences


def test_the_loss_is_the_divergence_of_the_softened_probabilities() -> None:
    student, teacher = torch.randn(2, 5, 4)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    expected = 9 * (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(distillation_loss(student, teacher, 3.0), expected)
    assert distillation_loss(teacher, teacher, 3.0).abs() < 1e-6


def test_the_loss_of_several_labels_is_the_divergence_of_each_ones_two_probabilities() -> None:
    student, teacher = torch.randn(2, 5, 4)
    p, q = (teacher / 3).sigmoid(), (student / 3).sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean() * 9
    torch.testing.assert_close(label_distillation_loss(student, teacher, 3.0), expected, rtol=1e-4, atol=1e-6)
    assert label_distillation_loss(teacher, teacher, 3.0).abs() < 1e-6


def test_its_gradient_at_a_high_temperature_is_that_of_matching_logits() -> None:
    student = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 6, dtype=torch.float64)
    distillation_loss(student, teacher, 1000.0).backward()
    centred = [z - z.mean(1, keepdim=True) for z in (student.detach(), teacher)]
    expected = (centred[0] - centred[1]) / 6 / 4  # section 2.1 of the paper, averaged over 4 samples
    torch.testing.assert_close(student.grad, expected, rtol=0.02, atol=1e-4)


def teacher_of(run: Path, **settings: object) -> tuple[Teacher, Digits]:
    data = Digits(**{"image_size": 28, **settings})  # type: ignore[arg-type]
    data.setup("fit")
    return Teacher(str(run), data), data


def test_the_teacher_sees_the_images_as_it_was_trained(trained: Path) -> None:
    teacher, _ = teacher_of(trained, mean=[0.3], std=[0.2])
    same, _ = teacher_of(trained)
    own = load(trained / "checkpoints" / "best.ckpt")["lit_cnn"]["preprocessing"]
    image = torch.rand(3, 1, 28, 28)
    shifted = (image - 0.3) / 0.2
    normal = (image - own["mean"][0]) / own["std"][0]
    torch.testing.assert_close(teacher.logits(shifted), same.logits(normal), rtol=1e-4, atol=1e-4)


def test_images_of_another_size_are_resized_for_it(trained: Path) -> None:
    teacher, _ = teacher_of(trained, image_size=40)
    image = torch.rand(2, 1, 40, 40)
    small = F.interpolate(image, (28, 28), mode="bilinear", antialias=True)
    torch.testing.assert_close(teacher.logits(image), teacher.logits(small))


def test_classes_are_matched_by_name(trained: Path) -> None:
    order = [str(9 - k) for k in range(10)]
    teacher, data = teacher_of(trained, class_names=order)
    straight, _ = teacher_of(trained)
    assert data.class_names == order
    image = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(teacher.logits(image), straight.logits(image).flip(1))


def test_it_trains_the_student_and_is_not_in_its_checkpoint(trained: Path, workdir: Path) -> None:
    main(["fit", *LENET, f"--model.teacher={trained}", "--model.distill_weight=0.9", "--epochs=3"])
    run = workdir / "lightning_logs" / "version_0"
    losses = [float(row["train/loss_distill"]) for row in rows(run / "metrics.csv")]
    assert losses[2] < losses[0]
    names = load(run / "checkpoints" / "best.ckpt")["state_dict"]
    assert not [name for name in names if "teacher" in name]


def test_a_resumed_run_has_the_same_bits_and_a_test_needs_no_teacher(trained: Path, workdir: Path) -> None:
    shutil.copy(trained / "checkpoints" / "best.ckpt", "teacher.ckpt")
    main(["fit", *TINY, "--img-size=28", "--model.teacher=teacher.ckpt", "--epochs=2", *EVERY_STEP])
    run = workdir / "lightning_logs" / "version_0" / "checkpoints"
    shutil.copy(run / "step20.ckpt", "final.ckpt")
    main(["fit", "--ckpt_path", str(run / "step7.ckpt")])
    assert state_differences(workdir / "final.ckpt", run / "step20.ckpt") == []
    Path("teacher.ckpt").unlink()
    main(["test", "--ckpt_path", str(run / "step20.ckpt")])


def test_a_resume_needs_the_same_teacher(trained: Path, workdir: Path, fails: Callable[..., str]) -> None:
    shutil.copy(trained / "checkpoints" / "best.ckpt", "teacher.ckpt")
    main(["fit", *TINY, "--img-size=28", "--model.teacher=teacher.ckpt", "--epochs=1"])
    shutil.copy("lightning_logs/version_0/checkpoints/last.ckpt", "teacher.ckpt")
    assert "is not the file that this run was trained with" in fails("fit", "--resume", "--epochs=2")
    Path("teacher.ckpt").unlink()
    assert "there is no such checkpoint" in fails("fit", "--resume", "--epochs=2")


def test_a_teacher_of_other_classes_or_channels_is_refused(trained: Path) -> None:
    with pytest.raises(UserError, match="takes 1 channels, these images have 3"):
        teacher_of(trained, channels=3)
    with pytest.raises(UserError, match="does not know class ten"):
        teacher_of(trained, class_names=[*map(str, range(10)), "ten"])


@pytest.mark.parametrize(
    ("flag", "line"),
    [("--model.distill_weight=2", "between 0 and 1"), ("--model.distill_temperature=0", "must be positive")],
)
def test_settings_that_mean_nothing_are_refused(flag: str, line: str, workdir: Path, fails: Callable[..., str]) -> None:
    assert line in fails("fit", *TINY, flag)
