from __future__ import annotations

import pytest

from benchmarks import ood
from tests.conftest import write_pictures


@pytest.mark.slow
def test_a_row_has_an_auroc_and_two_shares(workdir, capsys, monkeypatch):
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        write_pictures(workdir / "photos" / name, 30, seed, size=16)
    strangers = ood.make_strangers(workdir / "work")
    assert {name: len(list(folder.iterdir())) for name, folder in strangers.items()} == {"digits": 500, "noise": 100}
    ood._run("fit", "photos", "--epochs=1", "--model.backbone=lenet", "--img-size=28", "--data.val_fraction=0.4")
    model = workdir / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt"
    found = ood.compare("pictures", model, workdir / "photos" / "a", {"noise": strangers["noise"]})
    assert 0 <= found["pictures / noise"]["auroc"] <= 1
    assert "AUROC" in capsys.readouterr().out
