"""Image files without labels, prepared as the checkpoint says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lit_cnn.data import ImageDataModule, Images
from lit_cnn.errors import UserError

from .helpers import Recorder, image_folder, make_trainer

Make = Callable[..., Path]


def test_images_without_labels_are_prepared_as_the_checkpoint_says(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    trained = image_folder(root, normalize="computed", eval_resize="stretch", channels=1)
    trained.setup("test")
    single = root / "cat" / "005.png"
    images = Images(
        paths=[str(single), str(root / "dog")],
        class_names=trained.class_names,
        batch_size=4,
        workers=0,
        **trained.preprocessing(),
    )
    assert images.num_classes == 2
    model = Recorder(16 * 16, 2)
    predictions = make_trainer().predict(model, datamodule=images)
    assert predictions is not None
    index = torch.cat([part[0] for part in predictions])
    assert torch.cat([part[1] for part in predictions]).tolist() == [-1] * 7
    names = [images.sample_name("predict", int(i)) for i in index]
    assert names == [str(single), *(str(root / "dog" / f"{i:03d}.png") for i in range(6))]
    out = images.on_after_batch_transfer(next(iter(images.predict_dataloader())), 0)
    expected = {trained.sample_name("test", int(i)): image for i, image in _prepared(trained)}
    shared = [str(root / name) for name in expected if str(root / name) in names[:4]]
    assert shared
    for name in shared:
        assert torch.equal(out.image[names.index(name)], expected[str(Path(name).relative_to(root))])


def _prepared(data: ImageDataModule) -> list[tuple[int, torch.Tensor]]:
    pairs = []
    for raw in data.test_dataloader():
        batch = data.on_after_batch_transfer(raw, 0)
        pairs += list(zip(batch.index.tolist(), batch.image, strict=True))
    return pairs


def test_images_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    for stage in ("fit", "validate", "test"):
        with pytest.raises(UserError, match=f"no labels for {stage}"):
            Images(paths=[str(tmp_path)]).setup(stage)
    with pytest.raises(UserError, match="no images"):
        Images(paths=[str(tmp_path)]).setup("predict")
    with pytest.raises(UserError, match="no file or folder"):
        Images(paths=[str(tmp_path / "gone.jpg")]).setup("predict")
    (tmp_path / "bad.png").write_bytes(b"")
    data = Images(paths=[str(tmp_path)], on_bad_image="skip", image_size=8)
    data.setup("predict")
    assert not next(iter(data.predict_dataloader())).image.any()
    assert data.skipped() == {str(tmp_path / "bad.png"): "it is empty or no image of a known format"}
