from __future__ import annotations

import json
from pathlib import Path

from benchmarks.shares import main


def test_the_convolutions_have_a_share(tmp_path: Path, capsys) -> None:
    path = tmp_path / "shares.json"
    main(["--backbone=lenet_maxpool", "--batch-size=8", "--steps=2", "--rows=1000", f"--json={path}"])
    shares = json.loads(path.read_text())["shares"]
    assert abs(sum(shares.values()) - 1) < 1e-6
    assert shares["aten::convolution_backward"] > 0
    assert f"{shares['aten::convolution_backward']:.1%}" in capsys.readouterr().out
