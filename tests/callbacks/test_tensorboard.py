"""What TensorBoard shows of a run besides its scalars."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy, SingleDeviceStrategy, Strategy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from lit_cnn.callbacks import tensorboard
from lit_cnn.callbacks.tensorboard import VALUES, TensorBoardExtras, write_graph, write_histograms
from lit_cnn.cli.main import main
from lit_cnn.distributed.fsdp import ShardedStrategy
from tests.conftest import TINY, state_differences


def events_of(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0, "tensors": 0})
    found.Reload()
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    main(["fit", *TINY, "--epochs=2", f"--trainer.default_root_dir={root}"])
    return root / "lightning_logs" / "version_0"


def test_a_run_has_graph_pictures_and_histograms(run: Path) -> None:
    events = events_of(run)
    names = {node.name.split("/")[0] for node in events.Graph().node}
    assert any("ConvNet" in name for name in names), names
    assert events.Tags()["images"] == ["images/train_batch", "images/val_predictions", "images/worst"]
    for name in ("train_batch", "val_predictions", "worst"):
        assert events.Images(f"images/{name}")[0].encoded_image_string == (run / f"{name}.jpg").read_bytes()
    histograms = events.Tags()["histograms"]
    assert histograms
    assert all([event.step for event in events.Histograms(tag)] == [0, 20] for tag in histograms)


def test_training_and_validation_share_a_chart_whose_tags_the_run_has_logged(run: Path) -> None:
    events = events_of(run)
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    assert charts == {"loss": ["train/loss", "val/loss"], "accuracy": ["train/acc", "val/acc"]}
    assert {tag for tags in charts.values() for tag in tags} <= set(events.Tags()["scalars"])


def test_a_run_has_the_same_bits_without_tensorboard(run: Path, workdir: Path) -> None:
    main(["fit", *TINY, "--epochs=2", "--trainer.logger=false"])
    last = Path("checkpoints") / "last.ckpt"
    assert not state_differences(run / last, workdir / "lightning_logs" / "version_0" / last)


def test_the_graph_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    draws = torch.get_rng_state()
    with SummaryWriter(str(tmp_path)) as writer:
        write_graph(writer, network, torch.ones(1, 3, 8, 8))
    assert [module.training for module in network.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), draws)
    assert events_of(tmp_path).Tags()["graph"]


def test_a_network_that_cannot_be_traced_has_no_graph(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Odd(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise LookupError("only on Tuesdays")

    with SummaryWriter(str(tmp_path)) as writer:
        write_graph(writer, Odd(), torch.ones(1, 3, 8, 8))
    assert not events_of(tmp_path).Tags()["graph"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("strategy", "graphs"), [(SingleDeviceStrategy(), 1), (FSDPStrategy(), 0), (ShardedStrategy(), 0)]
)
def test_rank_zero_alone_runs_no_network_whose_weights_are_sharded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Strategy, graphs: int
) -> None:
    drawn: list[object] = []
    monkeypatch.setattr(tensorboard, "write_graph", lambda *given: drawn.append(given))
    monkeypatch.setattr(tensorboard, "_writer", lambda trainer: object())
    trainer = SimpleNamespace(strategy=strategy, global_step=0)
    batch = SimpleNamespace(image=torch.ones(2, 3, 8, 8))
    module = SimpleNamespace(backbone=nn.Conv2d(3, 4, 3))
    TensorBoardExtras(tmp_path).on_train_batch_start(trainer, module, batch, 0)
    assert len(drawn) == graphs


def test_histograms_of_large_layers_hold_a_part_of_the_values(tmp_path: Path) -> None:
    network = nn.Linear(300, 200)
    nn.init.uniform_(network.weight, -1, 1)
    with SummaryWriter(str(tmp_path)) as writer:
        write_histograms(writer, network, 3)
    found = events_of(tmp_path).Histograms("weights/weight")[0].histogram_value
    assert VALUES / 2 < found.num <= VALUES
    assert np.isclose(found.sum / found.num, 0, atol=0.03)
