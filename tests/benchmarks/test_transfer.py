from __future__ import annotations

import numpy as np
from PIL import Image

from benchmarks import transfer


def test_folds_hold_every_image_once_and_are_laid_out_as_train_and_val(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (4, 4)).save(tmp_path / "set" / name / f"{i}.png")
    (tmp_path / "set" / "a" / ".hidden").touch()
    files, targets = transfer.find_images(tmp_path / "set")
    assert targets.tolist() == [0] * 6 + [1] * 6
    parts = transfer.folds(targets, 3)
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(12))
    root = transfer.lay_out(files, parts[0], tmp_path / "fold")
    assert len(list((root / "train").glob("*/*.png"))) == 8
    assert len(list((root / "val").glob("*/*.png"))) == 4
    assert len(transfer.find_images(tmp_path / "set", limit=2)[0]) == 4
