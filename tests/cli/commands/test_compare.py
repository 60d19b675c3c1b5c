"""Runs compared on the same images: found by name, checkpoint and pattern; a table, a page, one-line refusals."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lit_cnn.cli.commands.compare import main
from lit_cnn.errors import UserError
from tests.conftest import write_pictures

SCRIPT = (
    "import sys; from lit_cnn.cli.commands.compare import main; main(['compare', 'a', 'b']); print(sorted(sys.modules))"
)


def make_run(name: str, predicted: str, seed: int = 1, lr: float = 0.1, files: str = "photos") -> Path:
    """A run folder as fit and test leave it, with the images ``0.jpg``, ``1.jpg``, ... of class a."""
    run = Path("lightning_logs", name)
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "best.ckpt").touch()
    data = {"class_path": "ImageFolder", "init_args": {"data_dir": files, "workers": seed}}
    config = {"seed_everything": seed, "model": {"lr": lr}, "data": data, "trainer": {"default_root_dir": name}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "metrics.csv").write_text("epoch,step,val/loss,val/acc\n0,1,0.5,0.6\n1,2,0.4,0.7\n")
    (run / "test").mkdir()
    with (run / "test" / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "true", "predicted"])
        writer.writerows([f"{i:02d}.jpg", "a", label] for i, label in enumerate(predicted))
    return run


def test_the_best_is_first_and_others_have_their_difference_and_what_they_were_trained_with(workdir, capsys):
    make_run("good", "a" * 18 + "bb")
    make_run("bad", "a" * 5 + "b" * 15, lr=0.2)
    write_pictures(workdir / "photos", 20, size=30)
    main(["compare", "bad", "lightning_logs/good/checkpoints/best.ckpt"])
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[1].split()[:3] == ["good", "0.900", "(0.699-0.972)"]
    assert lines[2].split()[:4] == ["bad", "0.250", "(0.112-0.469)", "0.650"]
    assert "chance?" not in out
    assert "model.lr: good 0.1, bad 0.2" in lines
    assert "good is better than all others on these 20 images, by more than chance." in lines
    assert all(len(line) <= 80 for line in lines)
    page = Path("comparison", "compare.html").read_text()
    assert page.count("data:image/jpeg") == 13
    assert "http" not in page.replace("http-equiv", "")
    table = list(csv.DictReader(Path("comparison", "disagreements.csv").read_text().splitlines()))
    assert [row["file"] for row in table] == [f"{i:02d}.jpg" for i in range(5, 18)]
    assert (table[0]["bad"], table[0]["good"]) == ("b", "a")


def test_runs_of_one_setting_have_a_mean_over_their_seeds(workdir, capsys):
    for seed, predicted in ((1, "aaaaaaab"), (2, "aaaaaabb"), (3, "aaaaabbb")):
        make_run(f"s{seed}", predicted, seed=seed)
    main(["compare", "lightning_logs/*", "-o", "out"])
    out = capsys.readouterr().out
    assert "mean of 3 seeds: 0.750 ± 0.125 (s1, s2, s3)" in out
    assert "8 images do not tell s1 from any other run apart: the differences may be chance." in out
    assert "seed_everything" not in out
    assert Path("out", "compare.html").is_file()


def test_settings_of_several_seeds_are_compared_over_their_seeds_and_not_by_the_luckiest_run(workdir, capsys):
    for seed, good, bad in ((1, 20, 3), (2, 6, 8), (3, 13, 9)):
        make_run(f"x{seed}", "a" * good + "b" * (20 - good), seed=seed)
        make_run(f"y{seed}", "a" * bad + "b" * (20 - bad), seed=seed, lr=0.2)
    main(["compare", "lightning_logs/*"])
    lines = capsys.readouterr().out.splitlines()
    expected = "The seeds do not tell lr=0.1 (0.650) apart from lr=0.2 (0.333): Welch's t-test, p 0.26."
    assert expected in lines
    assert {"mean of 3 seeds: 0.650 ± 0.350 (lr=0.1)", "mean of 3 seeds: 0.333 ± 0.161 (lr=0.2)"} <= set(lines)
    page = Path("comparison", "compare.html").read_text()
    assert expected.replace("'", "&#39;") in page
    assert '<td>lr=0.1</td><td class="n">3</td><td class="n">0.650 ± 0.350</td>' in page


def test_settings_that_are_better_with_every_seed_are_said_to_be(workdir, capsys):
    for seed in (1, 2, 3):
        make_run(f"x{seed}", "a" * (16 + seed) + "b" * (4 - seed), seed=seed)
        make_run(f"y{seed}", "a" * seed + "b" * (20 - seed), seed=seed, lr=0.2)
        make_run(f"z{seed}", "a" * (4 + seed) + "b" * (16 - seed), seed=seed, lr=0.4)
    main(["compare", "lightning_logs/*"])
    out = capsys.readouterr().out
    assert "lr=0.1 (0.900) is better than all others by more than seeds differ (Welch's t-test, p 0.00" in out


def test_a_pattern_leaves_out_folders_that_are_no_runs(workdir, capsys):
    make_run("a", "ab")
    make_run("b", "bb")
    Path("lightning_logs", "plots").mkdir()
    main(["compare", "lightning_logs/*"])
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith(("a ", "b "))]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "1 run to compare: give two or more"),
        (["a", "lightning_logs/a"], "1 run to compare"),
        (["a", "none"], "there is no run none: give its folder, name or checkpoint"),
        (["x*", "a"], r"x\* matches no run"),
        (["a", "untested"], "untested has no test predictions: lit-cnn test --ckpt_path .*untested makes them"),
        (["a", "b", "--split", "validate"], "a has no validate predictions"),
        (["a", "other"], "a and other were evaluated on different images"),
        (["a", "b", "-o", "file"], "cannot write to file: .*; choose another --output"),
        (["a", "b", "--split", "train"], "invalid choice: 'train'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(words, message, workdir):
    make_run("a", "ab")
    make_run("b", "bb")
    make_run("other", "aaa")
    (make_run("untested", "ab") / "test" / "predictions.csv").unlink()
    Path("file").touch()
    with pytest.raises(UserError, match=message):
        main(["compare", *words])


def test_the_newest_evaluation_counts(workdir, capsys):
    run = make_run("a", "bb")
    make_run("b", "ab")
    (run / "test_2").mkdir()
    (run / "test_2" / "predictions.csv").write_text("file,true,predicted\n00.jpg,a,a\n01.jpg,a,a\n")
    main(["compare", "a", "b"])
    assert capsys.readouterr().out.splitlines()[1].startswith("a    1.000")


def test_it_imports_neither_torch_nor_lightning(workdir):
    make_run("a", "ab")
    make_run("b", "bb")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert "'torch'" not in done.stdout
    assert "'lightning'" not in done.stdout
