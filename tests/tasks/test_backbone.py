"""A task's backbone as it is prepared for training: frozen layers, compilation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lit_cnn.tasks.classification import ImageClassifier


@pytest.mark.parametrize("freeze", [2, 3, "backbone"])
def test_frozen_statistics_stay_when_batch_normalization_is_replaced_by_that_over_all_ranks(freeze):
    task = ImageClassifier(10, 3, "resnet18", {"stem": "cifar"}, freeze=freeze)
    nn.SyncBatchNorm.convert_sync_batchnorm(task)  # as Lightning does for trainer.sync_batchnorm
    assert isinstance(task.backbone.bn1, nn.SyncBatchNorm)
    before = {name: buffer.clone() for name, buffer in task.backbone.named_buffers()}
    task.train()
    task(torch.rand(4, 3, 16, 16))
    moved = {name for name, buffer in task.backbone.named_buffers() if not torch.equal(buffer, before[name])}
    first = {2: "layer1", 3: "layer2", "backbone": ""}[freeze]
    assert min(moved, default="").partition(".")[0] == first


class Recorder:
    """A compiler backend that runs graphs as they are, and records which kind of graph each batch went through."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []  # images, and whether the graph is for any number of them

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[object]) -> object:
        any_size = any(isinstance(x, torch.SymInt) or _is_dynamic(x) for x in inputs)

        def run(*args: object) -> object:
            images = max((x for x in args if isinstance(x, Tensor) and x.ndim == 4), key=lambda x: x.shape[-1])
            self.calls.append((len(images), any_size))
            return graph(*args)

        return run


def _is_dynamic(x: object) -> bool:
    return isinstance(x, Tensor) and any(isinstance(size, torch.SymInt) for size in x.shape)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    made = Recorder()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=made))
    yield made
    torch._dynamo.reset()


def test_a_batch_goes_through_the_same_compiled_graph_wherever_a_run_was_resumed(recorder):
    def calls(sizes: list[int]) -> list[tuple[int, bool]]:
        torch._dynamo.reset()  # a new process
        recorder.calls.clear()
        task = ImageClassifier(10, 1, "lenet", compile=True, channels_last=False)
        for size in sizes:
            task(torch.rand(size, 1, 28, 28))
        return list(recorder.calls)

    straight = calls([8, 3, 8, 3, 8, 3])  # the last batch of each epoch has 3 images
    assert straight[3:] == calls([3, 8, 3]) == [(3, False), (8, False), (3, False)]
