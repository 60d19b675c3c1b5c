import pytest

from lit_cnn.cli.argv import parse
from lit_cnn.errors import UserError


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["--epochs", "5"], [("--trainer.max_epochs", "5")]),
        (["--batch-size", "64"], [("--data.batch_size", "64")]),
        (["--batch_size=64"], [("--data.batch_size", "64")]),
        (["-b", "64", "-j", "2"], [("--data.batch_size", "64"), ("--data.workers", "2")]),
        (["--lr", "0.1"], [("--model.lr", "0.1")]),
        (["--data-dir", "x y"], [("--data.data_dir", "x y")]),
        (["--seed", "7"], [("--seed_everything", "7")]),
        (["--workers", "0"], [("--data.workers", "0")]),
        (["--trainer.max-epochs", "5"], [("--trainer.max_epochs", "5")]),
        (["--model.lr_min", "-1"], [("--model.lr_min", "-1")]),
        (["--device", "cpu"], [("--trainer.accelerator", "cpu"), ("--trainer.devices", "1")]),
        (["--device", "cuda:1"], [("--trainer.accelerator", "gpu"), ("--trainer.devices", "[1]")]),
        (["--devices", "2"], [("--trainer.devices", "2")]),
        (["--device", "0,1"], [("--trainer.devices", "[0,1]")]),
        (["--amp"], [("--trainer.precision", "bf16-mixed")]),
        (["--amp=16-mixed"], [("--trainer.precision", "16-mixed")]),
        (["--amp=false"], [("--trainer.precision", "null")]),
        (["--deterministic=false"], [("--trainer.deterministic", "false")]),
        (["--pretrained=true"], [("--model.weights", "imagenet")]),
        (["--pretrained"], [("--model.weights", "imagenet")]),
        (["--model.backbone_args.stem", "cifar"], [("--model.backbone_args.stem", "cifar")]),
    ],
)
def test_known_spellings_become_settings(words, flags):
    assert parse(["fit", *words]).flags == flags


@pytest.mark.parametrize(
    ("words", "resume"),
    [
        ([], None),
        (["--resume"], ""),
        (["--resume", "--lr", "1"], ""),
        (["--resume", "a.ckpt"], "a.ckpt"),
        (["--resume=x"], "x"),
    ],
)
def test_resume_takes_a_value_or_none(words, resume):
    assert parse(["fit", *words]).resume == resume


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--resume_anyway"], True),
        (["--resume-anyway=true"], True),
        (["--resume_anyway=false"], False),
        (["--resume_anyway", "False"], False),
        ([], False),
    ],
)
def test_resume_anyway_is_read_as_true_or_false(words, value):
    assert parse(["fit", "--resume", *words]).resume_anyway is value


def test_configs_checkpoint_images_and_bare_flags_are_distinguished():
    parsed = parse(
        ["predict", "a b.jpg", "-c", "one.yaml", "--config=two.yaml", "--ckpt-path", "x.ckpt", "folder", "--help"]
    )
    assert parsed.images == ["a b.jpg", "folder"]
    assert parsed.configs == ["one.yaml", "two.yaml"]
    assert parsed.ckpt_path == "x.ckpt"
    assert parsed.bare == ["--help"]


def test_names_leave_init_args_out():
    assert parse(["fit", "--data.init_args.batch_size", "3", "--lr", "1"]).names() == {"data.batch_size", "model.lr"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--resume_anyway=2"], "--resume_anyway 2: expected true or false"),
        (["fit", "--lr"], "--lr needs a value"),
        (["fit", "--lr", "--epochs", "3"], "--lr needs a value"),
        (["fit", "configs/a.yaml"], "did you mean --config configs/a.yaml"),
        (["test", "best.ckpt"], "did you mean --ckpt_path best.ckpt"),
        (["fit", "photos"], "does not take the word 'photos'"),
        (["fit", "--device", "tpu9"], "use cpu, cuda"),
    ],
)
def test_mistakes_get_one_line_with_the_fix(words, message):
    with pytest.raises(UserError, match=message):
        parse(words)
