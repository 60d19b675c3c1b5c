"""Complete commands, through the entry point that a user calls."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lit_cnn import __version__
from lit_cnn.cli.main import main
from tests.conftest import LENET, TINY, load, state_differences, write_pictures

from .helpers import QUIET, copy_of, rows, run_command

# -- start -----------------------------------------------------------------------------------------------------------


def test_help_and_version_do_not_import_torch_or_lightning():
    code = (
        "import sys; from lit_cnn.cli.main import main\n"
        "for words in (['--help'], ['--version'], []): main(words)\n"
        "heavy = {'torch', 'lightning', 'jsonargparse', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"lit-cnn {__version__}" in done.stdout
    for command in ("fit --config", "fit --resume", "test --ckpt_path", "predict --ckpt_path"):
        assert f"lit-cnn {command}" in done.stdout


def test_python_dash_m_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "lit_cnn", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"lit-cnn {__version__}\n"


def test_print_config_prints_settings_that_can_be_run_again(workdir, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", *LENET, "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["backbone"] == "lenet_maxpool"
    Path("again.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", "again.yaml", "--epochs", "1"])


# -- the main job ----------------------------------------------------------------------------------------------------


def test_a_run_folder_holds_what_it_promises(trained):
    assert {p.name for p in (trained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert {"config.yaml", "metrics.csv", "results.png", "checkpoints"} <= {p.name for p in trained.iterdir()}
    table = rows(trained / "metrics.csv")
    assert [row["epoch"] for row in table] == ["0", "1", "2", "3"]
    assert {"train/loss", "train/acc", "val/loss", "val/acc", "val/acc_top5", "train/lr"} <= table[0].keys()


def test_the_checkpoint_alone_is_enough_to_test_and_the_numbers_repeat(trained, workdir, capsys):
    run = copy_of(trained, workdir)
    main(["test", "--ckpt_path", str(run / "checkpoints" / "best.ckpt"), QUIET])
    assert "accuracy" in capsys.readouterr().out
    main(["test", "--ckpt_path", "best", QUIET])
    first, second = (json.loads((run / name / "metrics.json").read_text()) for name in ("test", "test_2"))
    assert first == second
    assert first["test/acc"] > 0.8  # 4 epochs on the digits
    table = rows(run / "test" / "predictions.csv")
    assert len(table) == first["images"] == 359
    correct = sum(row["true"] == row["predicted"] for row in table)
    assert first["test/acc"] == torch.tensor(correct / len(table), dtype=torch.float32).item()


def test_validate_gives_the_best_epochs_own_numbers(trained, workdir):
    run = copy_of(trained, workdir)
    main(["validate", "--ckpt_path", str(run), QUIET])
    found = json.loads((run / "validate" / "metrics.json").read_text())
    best = max(rows(run / "metrics.csv"), key=lambda row: float(row["val/acc"]))
    assert found["val/acc"] == torch.tensor(float(best["val/acc"])).item()
    assert found["val/loss"] == torch.tensor(float(best["val/loss"])).item()


def test_predict_classifies_image_files_and_folders(trained, workdir):
    run = copy_of(trained, workdir)
    write_pictures(workdir / "my photos", 3)
    write_pictures(workdir / "more", 1)
    main(["predict", "--ckpt_path", "best", "my photos", "more/00.jpg", QUIET])
    table = rows(run / "predict" / "predictions.csv")
    expected = ["my photos/00.jpg", "my photos/01.jpg", "my photos/02.jpg", "more/00.jpg"]
    assert [Path(row["file"]).as_posix() for row in table] == expected
    assert {row["predicted"] for row in table} <= set("0123456789")


def test_predict_without_image_files_takes_the_test_images(trained, workdir):
    run = copy_of(trained, workdir)
    main(["test", "--ckpt_path", "best", QUIET])
    main(["predict", "--ckpt_path", "best", QUIET])
    predicted = [[row["predicted"] for row in rows(run / c / "predictions.csv")] for c in ("test", "predict")]
    assert predicted[0] == predicted[1]


def test_a_checkpoint_copied_elsewhere_still_tests(trained, workdir):
    shutil.copy(trained / "checkpoints" / "best.ckpt", workdir / "mine.ckpt")
    main(["test", "--ckpt_path", "mine.ckpt", QUIET])
    assert (workdir / "lightning_logs" / "version_0" / "test" / "metrics.json").is_file()


def test_checkpoints_hold_plain_data_only(trained):
    content = load(trained / "checkpoints" / "best.ckpt")
    own = content["lit_cnn"]
    assert own["class_names"] == list("0123456789")
    assert own["config"]["model"]["backbone"] == "lenet_maxpool"
    assert {"image_size", "channels", "mean", "std"} <= own["preprocessing"].keys()
    assert {"train", "val"} <= own["split"].keys()
    assert "_instantiator" not in content["hyper_parameters"]


def test_a_number_of_steps_alone_is_not_limited_by_the_default_epochs(workdir):
    main(["fit", *TINY, "-b=1200", "--trainer.max_steps=13"])  # one step an epoch
    assert load(workdir / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")["global_step"] == 13


def test_a_trial_run_and_a_run_without_checkpoints_leave_none(workdir):
    main(["fit", *TINY, "--trainer.fast_dev_run=true"])
    assert not Path("lightning_logs").exists()
    main(["fit", *TINY, "--epochs=1", "--trainer.enable_checkpointing=false"])
    assert Path("lightning_logs/version_0/metrics.csv").is_file()
    assert not list(Path().rglob("*.ckpt"))


def test_runs_are_searched_in_the_root_folder_that_a_config_names(workdir):
    Path("root.yaml").write_text("trainer: {default_root_dir: there}\n")
    main(["fit", *TINY, "--epochs=1", "--config=root.yaml"])
    main(["test", "--ckpt_path=best", "--config=root.yaml", QUIET])
    assert Path("there/lightning_logs/version_0/test/metrics.json").is_file()


def test_a_changed_split_is_reported(trained, workdir, capsys):
    copy_of(trained, workdir)
    main(["test", "--ckpt_path=best", "--data.split_seed=9", QUIET])
    shown = capsys.readouterr().out
    assert "note: data.split_seed differ from the checkpoint's" in shown
    assert "have changed" not in shown


# -- precedence ------------------------------------------------------------------------------------------------------


def test_flag_beats_config_beats_checkpoint_beats_default(trained, workdir):
    run = copy_of(trained, workdir)
    Path("over.yaml").write_text("model: {lr: 0.5, label_smoothing: 0.2}\n")
    main(["fit", "--ckpt_path", str(run), "--config", "over.yaml", "--lr", "0.001", "--epochs", "5"])
    model = yaml.safe_load((run / "config.yaml").read_text())["model"]
    assert model["lr"] == 0.001  # flag, not the config's 0.5
    assert model["label_smoothing"] == 0.2  # config, not the checkpoint's 0
    assert model["optimizer"] == "adamw"  # checkpoint, not the default
    assert model["weight_decay"] == 5e-4  # default


def test_links_fill_in_classes_channels_and_seed(workdir):
    main(["fit", *TINY, "--epochs=1", "--seed=7", "--data.channels=3"])
    hparams = load(workdir / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")["hyper_parameters"]
    assert (hparams["num_classes"], hparams["in_channels"], hparams["seed"]) == (10, 3, 7)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(workdir):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        main(["fit", *TINY, "--epochs=1", f"--seed={seed}", f"--trainer.default_root_dir={name}"])
    a, b, c = (workdir / n / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt" for n in "abc")
    assert state_differences(a, b) == []
    assert state_differences(a, c) != []


def test_auxiliary_losses_are_logged(workdir):
    write_pictures(workdir / "set" / "a", 8)
    write_pictures(workdir / "set" / "b", 8, seed=1)
    folder = ["--data=ImageFolder", "--data-dir=set", "--img-size=96"]
    main(["fit", *folder, "--model.backbone=googlenet", "--epochs=1", QUIET])
    row = rows(workdir / "lightning_logs" / "version_0" / "metrics.csv")[0]
    total, first, second = (float(row[f"train/{name}"]) for name in ("loss", "loss_aux1", "loss_aux2"))
    assert total > 0.3 * (first + second) > 0


def test_classes_are_matched_by_name_when_the_test_folder_lacks_one(workdir):
    for split, classes in {"train": "abc", "val": "abc", "test": "ac"}.items():
        for seed, name in enumerate(classes):
            write_pictures(workdir / "set" / split / name, 4, seed=seed)
    folder = ["--data=ImageFolder", "--data-dir=set", "--img-size=32"]
    main(["fit", *folder, "--model.backbone=lenet_color", "--epochs=1", QUIET])
    main(["test", "--ckpt_path=best", "--data-dir=set", QUIET])
    run = workdir / "lightning_logs" / "version_0"
    assert json.loads((run / "test" / "class_indices.json").read_text()) == {"0": "a", "1": "b", "2": "c"}
    assert {row["true"] for row in rows(run / "test" / "predictions.csv")} == {"a", "c"}
    # a folder without b altogether: c keeps index 2
    shutil.copytree(workdir / "set" / "test", workdir / "other" / "test")
    main(["test", "--ckpt_path=best", "--data-dir=other", QUIET])
    first, second = (json.loads((run / name / "metrics.json").read_text()) for name in ("test", "test_2"))
    assert first == second


def test_images_that_changed_since_training_are_reported(workdir, capsys):
    for seed, name in enumerate("ab"):
        write_pictures(workdir / "set" / name, 12, seed)
    folder = ["--data=ImageFolder", "--data-dir=set", "--img-size=32"]
    main(["fit", *folder, "--model.backbone=lenet_color", "--epochs=1", QUIET])
    capsys.readouterr()
    main(["test", "--ckpt_path=best", QUIET])
    assert "have changed" not in capsys.readouterr().out
    write_pictures(workdir / "set" / "a", 14)
    main(["test", "--ckpt_path=best", QUIET])
    assert "note: the images read from set have changed since this run was trained" in capsys.readouterr().out


# -- several processes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_measure_exactly_what_one_does(trained, workdir):
    run = copy_of(trained, workdir)
    # 359 test images in batches of 100: 4 batches, two for each process, the last one partial
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    run_command(workdir, "test", "--ckpt_path=best", "-b", "100")
    run_command(workdir, "test", "--ckpt_path=best", "-b", "100", *two)
    for name in ("metrics.json", "predictions.csv", "confusion_matrix.csv"):
        assert (run / "test" / name).read_bytes() == (run / "test_2" / name).read_bytes()


@pytest.mark.slow
def test_two_processes_train_and_resume(workdir):
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    run_command(workdir, "fit", *TINY, *two, "--epochs=2")
    run_command(workdir, "fit", "--resume", "--epochs=3")
    table = rows(workdir / "lightning_logs" / "version_0" / "metrics.csv")
    assert [row["epoch"] for row in table] == ["0", "1", "2"]
    assert [p.name for p in (workdir / "lightning_logs").iterdir()] == ["version_0"]


@pytest.mark.parametrize(("words", "batches"), [([], 3), (["--batch-size=7"], 52)])
def test_the_batch_size_given_to_an_evaluation_is_the_one_it_takes(words, batches, trained, capsys):
    main(["test", "--ckpt_path", str(trained), "--trainer.enable_progress_bar=true", *words])
    assert f"test  {batches}/{batches} batches" in capsys.readouterr().out
