from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lit_cnn.cli.commands.models import main, print_models
from lit_cnn.errors import UserError
from lit_cnn.inspection import model_table
from lit_cnn.inspection.tables import format_si

MEASURED = model_table.read_figures(model_table.OWN).figures


def test_every_model_has_a_line_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models"])
    out = capsys.readouterr().out
    for name, figures in MEASURED.items():
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert format_si(figures.parameters) in line
        assert line.split()[-2] == (f"{figures.top1:.2f}" if figures.top1 else "-")
        assert str(figures.year) in line
    assert "resnet18" in out
    assert "1.814 G" in out
    assert f"{len(MEASURED)} models" in out


def test_patterns_select_and_plain_words_match_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    print_models("vgg1?_bn")
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("vgg")]
    assert names == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    print_models("_half")
    assert "alexnet_half" in capsys.readouterr().out


def test_published_counts_stand_beside_ours_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "resnet110", "--reference"])
    out = capsys.readouterr().out
    assert out.count("1,727,962") == 2
    assert "paper, table 6" in out


@pytest.mark.parametrize("pattern", ["torchvision", "timm", "efficientnet"])
def test_a_pattern_that_only_other_zoos_have_names_how_to_list_them(pattern: str) -> None:
    with pytest.raises(UserError, match=r"no model matches .*'torchvision/\*' and lit-cnn models 'timm/\*'") as error:
        print_models(pattern)
    assert "\n" not in str(error.value)


def test_a_tag_of_pretrained_weights_lists_the_network_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    print_models("timm/resnet18.a1_in1k")
    _, row, *_ = out = capsys.readouterr().out.splitlines()
    assert row.split()[:2] == ["timm/resnet18", "11.69"]
    note = " ".join(out[-2:])
    assert note.endswith("'a1_in1k' names pretrained weights; the figures are those of the network, timm/resnet18")
    for pattern in ("timm/resnet19.a1_in1k", "timm/*.a1_in1k", "torchvision/resnet18.a1_in1k"):
        with pytest.raises(UserError, match="no model matches"):
            print_models(pattern)


def test_a_pattern_that_matches_nothing_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no model matches 'resnet21', did you mean .*'resnet20'"):
        print_models("resnet21")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("resnet*", "resnet152"), ("torchvision/*", "torchvision/vit_b_16"), ("timm/*", "timm/xcit_nano")],
)
def test_the_list_imports_neither_torch_nor_the_zoos(pattern: str, name: str) -> None:
    code = f"from lit_cnn.cli.main import main; main(['models', {pattern!r}])"
    code += "; import sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert name in done.stdout
    assert not {"torch", "torchvision", "timm", "lightning", "matplotlib"} & set(done.stderr.split())


def test_other_zoos_have_figures_paper_and_year(capsys: pytest.CaptureFixture[str]) -> None:
    for name, rest in (("torchvision/resnet18", ["1", "69.76", "2015"]), ("timm/resnet18", ["a1_in1k"])):
        print_models(name)
        row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(name))
        assert row.split()[1:] == ["11.69", "M", "1.814", "G", "224", *rest]
        print_models(name, papers=True)
        paper = "2015, Deep Residual Learning for Image Recognition, arXiv:1512.03385"
        assert paper in capsys.readouterr().out


def test_a_paper_without_a_title_is_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    print_models("timm/vit_base_patch16_radio_v3", papers=True)
    assert "2024, arXiv:2412.07679" in capsys.readouterr().out


def test_a_word_after_the_zoo_matches_anywhere_in_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    print_models("torchvision/_bn")
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.startswith("torch")] == [
        f"torchvision/vgg{n}_bn" for n in (11, 13, 16, 19)
    ]


def test_a_long_list_has_a_line_with_figures_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_models("timm/*")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "params", "MACs", "at", "weights"]
    text = "\n".join(lines)
    rows = re.findall(r"^timm/\w+\s+[\d.]+ [GMk]? +[\d.]+ [TGM] +\d+(?:x\d+)? +(?:\w\S*|-)$", text, re.MULTILINE)
    assert len(rows) == len(model_table.read_figures("timm").figures) > 1300
    assert f"\n{len(rows)} models." in text


@pytest.mark.parametrize(
    "words", [[], ["torchvision/*"], ["timm/*"], ["--reference"], ["--papers"], ["torchvision/*", "--papers"]]
)
def test_every_list_fits_80_columns(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", *words])
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


def test_models_without_published_weights_have_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    for name, top1 in (("resnet50", "80.86"), ("resnet50_v1", "-"), ("torchvision/mnasnet1_3", "76.51")):
        print_models(name)
        assert capsys.readouterr().out.splitlines()[1].split()[-2] == top1
    print_models("timm/botnet50ts_256")
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "-"


def test_a_zoo_that_is_not_installed_is_listed_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model_table, "installed_version", lambda zoo: None)
    print_models("timm/resnet18")
    out = " ".join(capsys.readouterr().out.split())
    assert "11.69 M" in out
    assert "timm is not installed, so none of these can be built: pip install 'lit-cnn[timm]'" in out


def test_figures_of_another_version_say_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = model_table.read_figures("timm").version
    monkeypatch.setattr(model_table, "installed_version", lambda zoo: "99.1")
    print_models("timm/resnet18")
    out = " ".join(capsys.readouterr().out.split())
    assert f"names and figures are those of timm {counted}, installed is 99.1" in out
    monkeypatch.setattr(model_table, "installed_version", lambda zoo: counted)
    print_models("timm/resnet18")
    assert "names and figures" not in capsys.readouterr().out


def test_a_name_that_only_another_version_has_is_listed_without_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model_table, "installed_version", lambda zoo: "99.1")
    monkeypatch.setattr("lit_cnn.models.list_models", lambda pattern: ["torchvision/newnet"])
    print_models("torchvision/newnet")
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["torchvision/newnet", *"------"]
    assert "not known; lit-cnn inspect NAME may count it" in out


def test_big_numbers_are_short() -> None:
    assert [format_si(n) for n in (None, 12, 416_520, 2_327_720, 15_470_264_320, 18 * 10**12)] == [
        "-", "12", "416.5 k", "2.328 M", "15.47 G", "18 T",
    ]  # fmt: skip


MYNETS = """
import torch
import lit_cnn.models

@lit_cnn.models.register_model(paper="mine", year=2025, in_channels=1, num_classes=10)
def mynet_{0}(num_classes: int, in_channels: int, width: int = 4) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(in_channels, width, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(width, num_classes),
    )
"""


@pytest.mark.parametrize("flag", ["--allow_import", "--allow-import"])
def test_models_of_an_imported_package_are_listed_with_measured_figures(
    flag: str, capsys: pytest.CaptureFixture[str], workdir: Path, registry: None
) -> None:
    module = f"mynets_{flag.strip('-').replace('-', '')}"
    (workdir / f"{module}.py").write_text(MYNETS.format(module))
    main(["models", "mynet*", flag, module])
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("mynet")]
    assert row == [f"mynet_{module}", "90", "1.774", "M", "224", "grey", "3", "-", "2025"]
    main(["models", "lenet", f"{flag}={module}"])
    assert "61.71 k" in capsys.readouterr().out
