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
        (["--devices", "0,1"], [("--trainer.devices", "[0,1]")]),
        (["--device", "0"], [("--trainer.accelerator", "gpu"), ("--trainer.devices", "[0]")]),
        (["--device", "1"], [("--trainer.accelerator", "gpu"), ("--trainer.devices", "[1]")]),
        (["--device", "0,1"], [("--trainer.accelerator", "gpu"), ("--trainer.devices", "[0,1]")]),
        (["--device", "cuda:0,cuda:1"], [("--trainer.accelerator", "gpu"), ("--trainer.devices", "[0,1]")]),
        (["--device", "GPU"], [("--trainer.accelerator", "gpu"), ("--trainer.devices", "1")]),
        (
            ["--trainer.devices", "2", "--device", "cuda"],
            [("--trainer.devices", "2"), ("--trainer.accelerator", "gpu")],
        ),
        (["--gpu", "1"], [("--trainer.accelerator", "gpu"), ("--trainer.devices", "[1]")]),
        (["--amp"], [("--trainer.precision", "bf16-mixed")]),
        (["--amp=16-mixed"], [("--trainer.precision", "16-mixed")]),
        (["--amp=false"], [("--trainer.precision", "null")]),
        (["--deterministic=false"], [("--trainer.deterministic", "false")]),
        (["--pretrained=true"], [("--model.weights", "imagenet")]),
        (["--pretrained"], [("--model.weights", "imagenet")]),
        (["--model.backbone_args.stem", "cifar"], [("--model.backbone_args.stem", "cifar")]),
        (["-b64", "-lr", "0.1"], [("--data.batch_size", "64"), ("--model.lr", "0.1")]),
        (["--Epochs", "5", "--LR=1"], [("--trainer.max_epochs", "5"), ("--model.lr", "1")]),
        (["--freeze"], [("--model.freeze", "backbone")]),
        (["--freeze", "3"], [("--model.freeze", "3")]),
        (["--cache", "--tta"], [("--data.cache", "ram"), ("--model.tta", "flip")]),
        (["--compile", "--dry-run"], [("--model.compile", "true"), ("--trainer.fast_dev_run", "true")]),
        (["--fast_dev_run", "-1"], [("--trainer.fast_dev_run", "-1")]),
        (["--amp", "False"], [("--trainer.precision", "null")]),
        (["--pretrained", "photos"], [("--model.weights", "imagenet"), ("--data", "photos")]),
        (["--fp16", "--precision", "fp32"], [("--trainer.precision", "16-mixed"), ("--trainer.precision", "32-true")]),
        (["--lr_scheduler", "CosineAnnealingLR"], [("--model.lr_scheduler", "cosine")]),
        (["--model", "lenet"], [("--model.backbone", "lenet")]),
        (["--model", "lenet.yaml"], [("--model", "lenet.yaml")]),
        (["photos", "--epochs", "5"], [("--data", "photos"), ("--trainer.max_epochs", "5")]),
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
        (["--resume", "True"], ""),
        (["--resume=false"], None),
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
        (["fit", "photos", "more"], "'more' is one word too many"),
        (["fit", "epochs=3"], "settings are flags, --epochs 3"),
        (["predict", "source=a.jpg"], "images are words"),
        (["fit", "best.ckpt"], "did you mean --resume best.ckpt"),
        (["fit", "resnet18.pth"], "did you mean --model.weights resnet18.pth"),
        (["fit", "--img-size", "3", "64", "64"], "--img-size takes one value, and 64 is another"),
        (["fit", "--model", "x.ckpt"], "use --ckpt_path x.ckpt"),
        (["fit", "--config"], "--config needs a value"),
        (["fit", "--allow-import"], "--allow-import needs a value"),
        (["fit", "--model.lr_min"], "--model.lr_min needs a value"),
        (["fit", "--epoochs", "--lr", "1"], "unknown flag --epoochs, did you mean --epochs"),
        (["fit", "--zzz"], "unknown flag --zzz; lit-cnn fit --help"),
        (["fit", "--device", "tpu9"], "use cpu, cuda"),
    ],
)
def test_mistakes_get_one_line_with_the_fix(words, message):
    with pytest.raises(UserError, match=message):
        parse(words)


@pytest.mark.parametrize("command", ["fit", "test", "predict", "prepare"])
@pytest.mark.parametrize("flag", ["--test-only", "--evaluate", "-e", "--model-ema", "--no-shuffle", "--verbose", "-q"])
def test_a_flag_of_another_tool_is_not_said_to_need_a_value(command, flag):
    with pytest.raises(UserError, match=f"^unknown flag {flag}: "):
        parse([command, flag])
