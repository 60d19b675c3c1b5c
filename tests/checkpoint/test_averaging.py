from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from lit_cnn.checkpoint.averaging import average_checkpoints
from lit_cnn.checkpoint.io import AtomicCheckpointIO
from lit_cnn.checkpoint.record import load_verified, read_record
from lit_cnn.errors import UserError


def network(seed: int, width: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width))
    net(torch.randn(4, 1, 5, 5))  # moves the statistics
    return net


def save(
    path: Path, net: nn.Module, step: int, classes: tuple[str, ...] = ("a", "b"), size: int = 8, backbone: str = "net"
) -> Path:
    own: dict[str, Any] = {
        "config": {"model": {"backbone": backbone}},
        "class_names": list(classes),
        "preprocessing": {"image_size": size},
    }
    progress = {"fit_loop": {"epoch_progress": {"current": {"processed": step}}}}
    content = {"state_dict": net.state_dict(), "global_step": step, "loops": progress, "optimizer_states": [{"x": 1}]}
    AtomicCheckpointIO().save_checkpoint({**content, "lit_cnn": {**own, "fingerprint": ""}}, path)
    return path


def test_the_average_is_that_of_torch_and_integers_are_those_of_the_last(tmp_path):
    nets = [network(seed) for seed in range(3)]
    nets[2](torch.randn(4, 1, 5, 5))
    paths = [save(tmp_path / f"{i}.ckpt", net, 10 * i) for i, net in enumerate(nets)]
    output = tmp_path / "averaged.ckpt"
    assert average_checkpoints(paths[::-1], output) == [0, 10, 20]
    reference = AveragedModel(nets[0], use_buffers=True)
    for net in nets:
        reference.update_parameters(net)
    state = load_verified(output)["state_dict"]
    for name, tensor in reference.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(state[name], tensor)
    assert state["1.num_batches_tracked"] == 2
    assert read_record(output).averaged
    assert "optimizer_states" not in load_verified(output)


def test_what_cannot_be_averaged_is_refused_in_one_line(tmp_path):
    first, output = save(tmp_path / "0.ckpt", network(0), 1), tmp_path / "new.ckpt"
    for other, why in (
        (save(tmp_path / "1.ckpt", network(1, width=4), 2), "different networks"),
        (save(tmp_path / "2.ckpt", network(1), 2, classes=("b", "a")), "classes"),
        (save(tmp_path / "3.ckpt", network(1), 2, size=9), "preprocessing"),
        (first, "two or more different"),
        (tmp_path / "gone.ckpt", "there is no file"),
        (save(tmp_path / "4.ckpt", network(0), 1), "same weights"),
        (save(tmp_path / "5.ckpt", network(1), 2, backbone="other"), "different networks"),
    ):
        with pytest.raises(UserError, match=why):
            average_checkpoints([first, other], output)
    good = save(tmp_path / "last.ckpt", network(1), 2)
    with pytest.raises(UserError, match="one of the checkpoints"):
        average_checkpoints([first, good], good)
    with pytest.raises(UserError, match="where a resume looks"):
        average_checkpoints([first, good], output)
    assert not output.exists()
