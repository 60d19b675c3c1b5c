from __future__ import annotations

import re

import pytest

from benchmarks.restoration import main


def test_every_network_for_images_has_a_line_whose_two_figures_agree(capsys: pytest.CaptureFixture) -> None:
    main(["--width", "24", "--height", "16", "--images", "2", "--threads", "1"])
    printed = capsys.readouterr().out
    assert printed.startswith("24x16, 1 threads, torch ")
    rows = re.findall(r"^(\w+) +([\d.]+) images/s +([\d.]+) ms$", printed, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["srcnn", "aodnet", "unet"]
    for _, rate, milliseconds in rows:
        assert float(rate) * float(milliseconds) == pytest.approx(1000, rel=0.1)
