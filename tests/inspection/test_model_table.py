from __future__ import annotations

import csv
from importlib.metadata import version

import pytest
import torch
import torchvision.models
from torch.utils.flop_counter import FlopCounterMode

from lit_cnn.inspection import model_table
from lit_cnn.models._input_check import on_meta
from tools import measure_zoos, papers

timm = pytest.importorskip("timm")

COUNTED = {zoo: model_table.read_figures(zoo) for zoo in model_table.ZOOS}
same_timm = pytest.mark.skipif(
    model_table.public_version(version("timm")) != COUNTED["timm"].version,
    reason="the stored figures are of another timm",
)
same_torchvision = pytest.mark.skipif(
    model_table.public_version(version("torchvision")) != COUNTED["torchvision"].version,
    reason="the stored figures are of another torchvision",
)


@same_torchvision
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "swin_t", "regnet_y_400mf"])
def test_stored_figures_of_torchvision_are_those_of_the_model_it_builds(name: str) -> None:
    _compare(f"torchvision/{name}", torchvision.models.get_model(name, weights=None))


@same_timm
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224", "test_efficientnet"])
def test_stored_figures_of_timm_are_those_of_the_model_it_builds(name: str) -> None:
    _compare(f"timm/{name}", timm.create_model(name))


def _compare(name: str, model: torch.nn.Module) -> None:
    figures = COUNTED[name.partition("/")[0]].figures[name]
    assert figures.parameters == sum(p.numel() for p in model.parameters())
    model.eval().requires_grad_(False)
    assert model(torch.zeros(1, 3, figures.smallest, figures.smallest)).shape == (1, figures.classes)
    with FlopCounterMode(display=False) as counter:  # of the CPU's attention it knows nothing
        model.to("meta")(torch.zeros(1, *figures.image, device="meta"))
    assert 2 * figures.macs == counter.get_total_flops()


@same_torchvision
def test_all_of_torchvision_is_stored_with_the_operations_it_publishes() -> None:
    models = torchvision.models
    figures = COUNTED["torchvision"].figures
    assert list(figures) == [f"torchvision/{name}" for name in models.list_models(module=models)]
    for name, f in figures.items():
        if name == "torchvision/vit_h_14":  # published for 518 pixels only, built for 224
            continue
        published = models.get_model_weights(name.partition("/")[2]).DEFAULT.meta["_ops"]
        assert f.macs / 1e9 == pytest.approx(published, rel=0.003, abs=0.001), name
        assert f.year, name


@same_timm
def test_all_of_timm_is_stored_in_its_order() -> None:
    assert list(COUNTED["timm"].figures) == [f"timm/{name}" for name in timm.list_models()]


@same_timm
@pytest.mark.parametrize(
    ("name", "year", "title"),
    [
        ("timm/vit_base_patch16_224", 2020, "An Image is Worth 16x16 Words"),
        ("timm/efficientnet_b0", 2019, "EfficientNet: Rethinking Model Scaling"),
        ("timm/tf_efficientnetv2_s", 2021, "EfficientNetV2"),
        ("timm/resnext50_32x4d", 2016, "Aggregated Residual Transformations"),
        ("timm/dla60_res2net", 2019, "Res2Net"),
        ("timm/resnet50", 2015, "Deep Residual Learning"),
        ("torchvision/squeezenet1_0", 2016, "SqueezeNet: AlexNet-level accuracy"),
        ("torchvision/inception_v3", 2015, "Rethinking the Inception Architecture"),
    ],
)
def test_papers_are_those_of_the_architecture(name: str, year: int, title: str) -> None:
    figures = COUNTED[name.partition("/")[0]].figures[name]
    assert papers.paper(name) == figures.paper
    assert figures.year == year
    assert model_table.paper_titles()[figures.paper].startswith(title)


@same_timm
def test_every_pattern_of_names_finds_a_paper_that_the_zoo_links() -> None:
    found = {f.paper for stored in COUNTED.values() for f in stored.figures.values()}
    for number, _ in papers.TIMM:
        assert number in found
        assert not number or number in model_table.paper_titles()


def test_counting_resumes_and_starts_again_for_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(model_table, "FOLDER", tmp_path)
    monkeypatch.setattr(
        measure_zoos._external, "torchvision_names", lambda: ["torchvision/alexnet", "torchvision/vgg11"]
    )
    monkeypatch.setattr(measure_zoos, "version", lambda zoo: "1.0+cpu")
    measured = []
    monkeypatch.setattr(
        measure_zoos, "measure", lambda name: measured.append(name) or model_table.Figures(parameters=1)
    )
    measure_zoos.measure_zoo("torchvision", again=False)
    measure_zoos.measure_zoo("torchvision", again=False)
    assert measured == ["torchvision/alexnet", "torchvision/vgg11"]
    assert model_table.read_figures("torchvision").version == "1.0"
    monkeypatch.setattr(measure_zoos, "version", lambda zoo: "1.1")
    measure_zoos.measure_zoo("torchvision", again=False)
    assert len(measured) == 4


def test_what_cannot_be_built_is_stored_empty(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    def fails(name: str) -> model_table.Figures:
        raise RuntimeError("too large")

    monkeypatch.setattr(model_table, "FOLDER", tmp_path)
    monkeypatch.setattr(measure_zoos._external, "torchvision_names", lambda: ["torchvision/alexnet"])
    monkeypatch.setattr(measure_zoos, "measure", fails)
    measure_zoos.measure_zoo("torchvision", again=False)
    (figures,) = model_table.read_figures("torchvision").figures.values()
    assert figures == model_table.Figures(year=2014, paper="1404.5997")


@same_timm
@same_torchvision
def test_measuring_counts_what_is_stored() -> None:
    for name in ("torchvision/squeezenet1_1", "timm/test_resnet"):
        stored = COUNTED[name.partition("/")[0]].figures[name]
        assert measure_zoos.measure(name)._replace(year=stored.year) == stored


def test_the_tables_have_one_line_a_model() -> None:
    for zoo in model_table.ZOOS:
        with model_table.table_path(zoo).open(newline="") as file:
            next(file)
            names = [row["name"] for row in csv.DictReader(file)]
        assert len(set(names)) == len(names) == len(COUNTED[zoo].figures)


def test_models_that_read_numbers_while_they_are_built_end_on_the_meta_device_too() -> None:
    model = on_meta(lambda: torchvision.models.regnet_x_400mf(weights=None))
    assert all(p.is_meta for p in model.parameters())
