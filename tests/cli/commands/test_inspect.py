from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from lit_cnn.cli.commands.inspect import main
from lit_cnn.cli.main import main as cli
from lit_cnn.errors import UserError


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    main(["inspect", *(str(word) for word in words)])
    return capsys.readouterr().out


def test_alexnets_table_has_shapes_work_and_fields(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = run(capsys, "alexnet_original", "--image-size", 227, "--out-dir", tmp_path)
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert lines["features.0"] == [
        "features.0",
        "Conv2d",
        "11x11",
        "s4",
        "96x55x55",
        "34,944",
        "105.4",
        "M",
        "11",
        "4",
        "5",
    ]
    assert lines["features.14"][-6:] == ["256x6x6", "0", "0", "195", "32", "33"]
    assert lines["classifier.6"][-3:] == ["all", "-", "-"]
    assert max(map(len, out.partition("60,965,224")[0].splitlines())) <= 80
    assert "features.1" not in lines  # a ReLU
    assert "60,965,224 parameters, 724.4 M multiply-accumulates" in out
    with Image.open(tmp_path / "alexnet_original_receptive_field.png") as picture:
        assert picture.width > 500
    assert not (tmp_path / "alexnet_original_gridding.png").exists()


def test_depth_groups_layers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = run(capsys, "resnet18", "--depth", 1, "--out_dir", tmp_path)
    names = [line.split()[0] for line in out.splitlines()[2:11]]
    assert names == ["conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"]


def test_the_gridding_check_distinguishes_good_dilations_from_bad_ones_and_draws_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = run(capsys, "dilated_convnet", "--out-dir", tmp_path)
    assert "gridding check up to features.6, dilations 1-2-5: M2 = 2 <= 3; of the 17x17 pixels 0 are never read" in out
    out = run(capsys, "dilated_convnet", "--backbone_args.dilations", "[2, 2, 2]", "--out-dir", tmp_path)
    assert "common divisor 2; of the 13x13 pixels 120 are never read (gridding)" in out
    assert "those in rows or columns 1, 3, ..., 11 of 0 to 12" in out
    with Image.open(tmp_path / "dilated_convnet_gridding.png") as picture:
        colours = picture.convert("RGB").getcolors(1 << 20)
    red = sum(n for n, (r, g, b) in colours if r > 200 and g < 60 and b < 60)
    assert red > 0.2 * picture.width * picture.height


def test_auxiliary_heads_are_counted_separately_in_the_total(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = run(capsys, "googlenet", "--depth", 1, "--out-dir", tmp_path)
    assert "13,378,280 parameters (6,998,552 in eval; +6,379,728 in auxiliary heads, training only)" in out
    rows = [line.split() for line in out.splitlines() if re.match(r"(conv|inception|fc)", line)]
    numbers = [next(word for word in row[2:] if re.fullmatch(r"[\d,]+,\d+", word)) for row in rows]
    assert sum(int(number.replace(",", "")) for number in numbers) == 6_998_552


def test_a_receptive_field_that_ends_is_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = run(capsys, "torchvision/vit_b_32", "--depth", 1, "--out-dir", tmp_path)
    assert "no receptive field from encoder.dropout on: no longer a map of pixels" in out
    assert "no receptive field" not in run(capsys, "lenet", "--out-dir", tmp_path)


def test_arguments_of_the_model_are_given_as_in_training(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (["--backbone_args.stem", "cifar"], ["--model.backbone_args.stem=cifar"]):
        out = run(capsys, "resnet18", *words, "--img-size", 32, "--num-classes", 10, "--out-dir", tmp_path)
        assert "Conv2d 3x3 p1" in out.splitlines()[2]
        assert "512x4x4" in out


def test_other_zoos_are_inspected_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = run(capsys, "torchvision/squeezenet1_1", "--depth", 1, "--out-dir", tmp_path)
    assert "1,235,496 parameters" in out
    assert (tmp_path / "torchvision_squeezenet1_1_receptive_field.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vgg99"], "unknown model 'vgg99', did you mean 'vgg"),
        (["vgg11", "--image-size", "16"], "VGG cannot take 16x16 images; the smallest size that works is 32x32"),
        (["vgg11", "--image-size", "0"], "must be 1 or more"),
        (["vgg11", "--image-size", "16x64"], "VGG cannot take 16x64 images; the smallest size that works is 32x32"),
        (["vgg11", "--image-size", "64x"], "invalid size value: '64x'"),
        (["lenet", "--num-classes", "0"], "--num-classes must be 1 or more, got 0"),
        (["lenet", "--in-channels", "0"], "--in-channels must be 1 or more, got 0"),
        (["lenet", "--depth", "0"], "--depth must be 1 or more, got 0"),
        (["lenet", "--backbone_args.image_size", "0"], "lenet: image_size must be a whole number from 1 up, got 0"),
        (["lenet", "--backbone_args.num_classes", "5"], "no argument of the model here: give --num-classes"),
        (["lenet", "--backbone_args.name", "x"], "lenet has no argument 'name'"),
        (["resnet18", "--backbone_args.stme", "cifar"], "resnet18 has no argument 'stme', did you mean 'stem'"),
        (["resnet18", "--backbone_args.stem"], "--backbone_args.stem needs a name and a value"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        main(["inspect", *words, "--out-dir", str(tmp_path)])
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*; choose another `out_dir`"):
        main(["inspect", "lenet", "--out-dir", str(tmp_path / "file" / "sub")])


def test_flags_take_underscores_and_values_keep_theirs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, "lenet", f"--out_dir={tmp_path / 'a_b'}")
    assert (tmp_path / "a_b" / "lenet_receptive_field.png").exists()


def test_a_model_of_an_imported_package_is_inspected_at_a_size_that_it_accepts(
    capsys: pytest.CaptureFixture[str], workdir: Path, registry: None
) -> None:
    (workdir / "inspected_nets.py").write_text(
        "import torch\nimport lit_cnn.models\n\n"
        "@lit_cnn.models.register_model\n"
        "def flatnet(num_classes, in_channels):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32 * in_channels, num_classes))\n"
    )
    assert "flatnet on 3x32x32" in run(capsys, "flatnet", "--allow_import", "inspected_nets")


def test_a_config_is_inspected_on_images_like_those_of_its_data(
    capsys: pytest.CaptureFixture[str], workdir: Path
) -> None:
    assert "resnet18 on 3x32x32" in (out := run(capsys, "resnet18_cifar", "--depth", 1))
    assert "11,173,962 parameters" in out  # ten classes and the CIFAR stem
    assert "lenet_maxpool on 1x28x28" in run(capsys, "lenet_digits")
    config = "model: {backbone: vgg7_cifar}\ndata: {class_path: ImageFolder, init_args: {image_size: [32, 48]}}\n"
    (workdir / "mine.yaml").write_text(config)
    assert "vgg7_cifar on 3x32x48" in run(capsys, "mine.yaml")
    assert "vgg7_cifar on 1x16x16" in run(capsys, "mine.yaml", "--img-size", 16, "--in-channels", 1)
    out = run(capsys, "mine.yaml", "--backbone_args.batch_norm", "false")
    assert "BatchNorm2d" not in out
    (workdir / "none.yaml").write_text("data: Digits\n")
    with pytest.raises(UserError, match=r"none\.yaml names no `model.backbone`"):
        main(["inspect", "none.yaml"])


@pytest.mark.slow
def test_a_checkpoint_is_inspected_with_its_arguments_and_classes(
    capsys: pytest.CaptureFixture[str], workdir: Path
) -> None:
    words = ["--data=Digits", "--img-size=8", "--model.backbone=convnet", "--epochs=1", "--trainer.limit_val_batches=1"]
    words += ["--model.backbone_args={widths: [4, 6], dilations: [1, 2]}", "--trainer.limit_train_batches=1"]
    cli(["fit", *words, "--trainer.enable_progress_bar=false"])
    capsys.readouterr()
    for word in ("best", "version_0", "lightning_logs/version_0/checkpoints/last.ckpt"):
        out = run(capsys, word)
        assert "convnet on 1x8x8" in out
        assert "6x2x2" in out
        assert "10 " in out
    with pytest.raises(UserError, match="no checkpoint"):
        main(["inspect", "nowhere.ckpt"])
