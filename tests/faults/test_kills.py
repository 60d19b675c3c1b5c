"""kill -9 at random moments of runs with random settings: what is resumed ends with the same bits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lit_cnn.cli.checkpoint_argument import newest_valid_first
from tests.conftest import state_differences, write_pairs

from .harness import KillAt, KillWithin, last, run, terminal

STEPS_PER_EPOCH = {64: 20, 128: 10, 200: 7, 630: 2}  # batches of the digits' 1,259 training images


def settings(chance: random.Random) -> tuple[list[str], int]:
    """Random settings, and how many optimizer steps they make."""
    batch, accumulate, epochs = chance.choice(list(STEPS_PER_EPOCH)), chance.choice([1, 1, 2, 3]), chance.randint(2, 4)
    words = [
        "--data=Digits",
        f"--model.backbone={chance.choice(['lenet_maxpool', 'mnist_cnn'])}",
        f"--batch-size={batch}",
        f"--epochs={epochs}",
        f"--trainer.accumulate_grad_batches={accumulate}",
        f"--seed={chance.randint(0, 1000)}",
        f"--lr={chance.choice([0.003, 0.01])}",
        f"--model.optimizer={chance.choice(['sgd', 'adamw', 'rmsprop'])}",
        f"--model.lr_scheduler={chance.choice(['one_cycle', 'cosine', 'step', 'linear'])}",
        f"--model.ema_decay={chance.choice(['null', '0.9'])}",
        f"--model.mixup_alpha={chance.choice([0, 0.3])}",
        f"--model.cutmix_alpha={chance.choice([0, 0.5])}",
        f"--trainer.gradient_clip_val={chance.choice(['null', '0.5'])}",
        f"--precision={chance.choice(['32', 'bf16-mixed'])}",
        f"--data.augment.crop_padding={chance.choice([0, 1])}",
        f"--checkpoint_every={chance.choice(['null', '1', '2', '3', '5', '1s', '2epochs'])}",
        "--trainer.enable_progress_bar=false",
    ]
    if chance.random() < 0.3:
        words.append(f"--trainer.val_check_interval={chance.choice([0.5, 0.25]) if batch < 600 else 0.5}")
    return words, -(-STEPS_PER_EPOCH[batch] // accumulate) * epochs


@pytest.mark.slow
def test_runs_killed_anywhere_and_resumed_end_with_the_bits_of_an_uninterrupted_run(
    kill_seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path / "cache"))
    print("seed", kill_seed)
    chance = random.Random(kill_seed)
    kill_and_resume(*settings(chance), chance, tmp_path)


@pytest.mark.slow
def test_so_do_runs_with_a_recipe_of_policies_balanced_sampling_unfreezing_and_growing_images(
    kill_seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path / "cache"))
    chance = random.Random(f"recipe {kill_seed}")
    kill_and_resume(*recipe(chance), chance, tmp_path)


def recipe(chance: random.Random) -> tuple[list[str], int]:
    """Settings that decide what is trained, on what, by the epoch; and how many optimizer steps they make."""
    words = [
        "--data=Digits",
        "--model.backbone=resnet20",
        "--batch-size=200",
        "--epochs=3",
        "--img-size=16",
        f"--seed={chance.randint(0, 1000)}",
        "--model.optimizer=adamw",
        "--freeze=backbone",
        f"--model.freeze_epochs={chance.choice([1, 2])}",
        f"--data.augment.policy={chance.choice(['rand_augment', 'trivial_augment', 'augmix'])}",
        "--data.augment.progressive_size=0.5",
        "--data.sampling=balanced",
        f"--checkpoint_every={chance.choice(['1', '2', '3', '1s'])}",
        "--trainer.enable_progress_bar=false",
    ]
    return words, 3 * STEPS_PER_EPOCH[200]


@pytest.mark.slow
def test_so_do_runs_of_image_to_image_with_a_recipe_of_networks_and_losses(
    kill_seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path / "cache"))
    chance = random.Random(f"dehazing {kill_seed}")
    pairs = write_pairs(tmp_path / "pairs", 16)  # 12 of them train, in 3 steps an epoch
    network = chance.choice(["unet --model.backbone_args.widths=[4,8]", "aodnet", "srcnn"])
    words = [
        *f"--data=DehazePairs --data-dir={pairs} --batch-size=4 --img-size=16 --epochs=4 --lr=0.01".split(),
        *f"--model.backbone={network} --model.loss={chance.choice(['l1', 'mse', 'l1_ssim'])}".split(),
        f"--seed={chance.randint(0, 1000)}",
        f"--model.ema_decay={chance.choice(['null', '0.9'])}",
        f"--checkpoint_every={chance.choice(['null', '1', '2', '1s'])}",
        "--trainer.enable_progress_bar=false",
    ]
    kill_and_resume(words, 12, chance, tmp_path)


def kill_and_resume(words: list[str], steps: int, chance: random.Random, tmp_path: Path) -> None:
    """Kill a run once or twice and resume it; compare it with one that ran through."""
    run("fit", *words, root=tmp_path / "straight", draw=True)
    killed = tmp_path / "killed"
    kills = sorted(chance.sample(range(steps), k=min(2, steps)))[: chance.choice([1, 2, 2])]
    died = 0
    for step in kills:
        # after a step's end, or anywhere in the next ones, in the midst of a save too
        killer = KillAt(step) if chance.random() < 0.3 and step else KillWithin(step, chance.random() * 0.08)
        status = run("fit", *words, "--resume", "auto", root=killed, callbacks=(killer,), check=False, draw=True)
        assert status in (-9, 0) or "has finished its" in terminal(killed), terminal(killed)
        died += status == -9
    assert died or kills[-1] >= steps - 2, terminal(killed)  # a kill in the last steps may come too late
    status = run("fit", *words, "--resume", "auto", root=killed, check=False, draw=True)
    assert status == 0 or "has finished its" in terminal(killed), terminal(killed)
    # a run killed before its first checkpoint starts again in a new folder
    version = len(list((killed / "lightning_logs").glob("version_*"))) - 1
    # killed between the last epoch's best.ckpt and last.ckpt, it has finished with the first
    furthest = newest_valid_first(last(killed, version).parent)[0]
    assert state_differences(last(tmp_path / "straight"), furthest) == [], words
    tables = [last(tmp_path / "straight"), furthest]
    first, second = ((path.parent.parent / "metrics.csv").read_bytes() for path in tables)
    assert first == second, words
