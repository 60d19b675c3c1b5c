from __future__ import annotations

import subprocess
import sys

import pytest

from lit_cnn.analysis import measure, models_command, zoos
from lit_cnn.analysis.measured import MEASURED
from lit_cnn.analysis.models_command import main, print_models
from lit_cnn.analysis.tables import giga
from lit_cnn.errors import UserError


def test_the_stored_figures_are_what_measuring_gives_now() -> None:
    assert measure.TARGET.read_text() == measure.source(), "run python -m lit_cnn.analysis.measure"


def test_every_model_has_a_line_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    for name, figures in MEASURED.items():
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert f"{figures.parameters:,}" in line
        assert str(figures.year) in line
    assert "resnet18" in out
    assert "1.814 G" in out
    assert "65 models" in out


def test_patterns_select_and_plain_words_match_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    print_models("vgg1?_bn")
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("vgg")]
    assert names == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    print_models("_half")
    assert "alexnet_half" in capsys.readouterr().out


def test_published_counts_stand_beside_ours_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    main(["resnet110", "--reference"])
    out = capsys.readouterr().out
    assert out.count("1,727,962") == 2
    assert "paper, table 6" in out


def test_a_pattern_that_matches_nothing_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no model matches 'resnet21', did you mean .*'resnet20'"):
        print_models("resnet21")


def test_the_list_needs_no_torch() -> None:
    code = "import sys; from lit_cnn.cli import main; main(['models', 'resnet*']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "resnet152" in done.stdout
    assert not {"torch", "torchvision", "lightning", "matplotlib"} & set(done.stderr.split())


def test_other_zoos_have_figures_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_models("torchvision/resnet18")
    out = capsys.readouterr().out
    assert "11,689,512  1.814 G" in out
    assert "Deep Residual Learning for Image Recognition, arXiv 1512.03385" in out
    print_models("timm/resnet18")
    assert "11,689,512  1.814 G" in capsys.readouterr().out


def test_every_torchvision_classifier_has_figures() -> None:
    from lit_cnn.models import list_models

    for name in list_models("torchvision/*"):
        figures = zoos.torchvision_figures(name)
        assert figures.parameters > 1_000_000
        assert figures.macs > 10_000_000
        assert figures.smallest >= 1


def test_few_timm_models_are_always_counted_and_more_only_while_there_is_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"timm/{name}" for name in ("resnet18", "resnet26", "resnet34", "resnet50")]
    assert [f.parameters is None for f in zoos.timm_figures(names, seconds=0.0).values()] == [True] * 4
    assert [f.parameters is None for f in zoos.timm_figures(names[:3], seconds=0.0).values()] == [False] * 3
    monkeypatch.setattr(models_command, "SECONDS", -1e9)
    print_models("timm/resnet1*")
    assert "- was not counted for lack of time: narrow the pattern" in capsys.readouterr().out


def test_a_very_long_list_is_names_only(capsys: pytest.CaptureFixture[str]) -> None:
    print_models("timm/*")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1000
    assert "timm/resnet18" in lines
    assert "narrow the pattern for figures" in lines[-1]


def test_big_numbers_are_short() -> None:
    assert [giga(n) for n in (None, 12, 416_520, 2_327_720, 15_470_264_320)] == [
        "-", "12", "416.5 k", "2.328 M", "15.47 G",
    ]  # fmt: skip
