"""The Python API from end to end: train, load a checkpoint, classify, and use the parts with a plain Lightning Trainer.

Run it in an empty folder: it leaves lightning_logs/ there, as the command line does.
"""

from __future__ import annotations

import numpy as np
from lightning.pytorch import Trainer
from PIL import Image
from sklearn.datasets import load_digits

import lit_cnn


def main(epochs: int = 5) -> None:
    """Train twice and classify some digits."""
    # what `lit-cnn fit --config lenet_digits --epochs 5` does
    run = lit_cnn.fit(config="lenet_digits", epochs=epochs)
    print(f"val/acc {run.score:.3f}: {run.best}")

    # what `lit-cnn predict` says: here for arrays, for a PIL image and for a file
    model = run.load()  # or lit_cnn.load("best.ckpt")
    digits = load_digits()
    arrays = [np.rint(image * 255 / 16).astype(np.uint8) for image in digits.images[:10]]
    for label, prediction in zip(digits.target, model.predict(arrays), strict=False):
        print(f"{label}: {prediction.name} ({prediction.probability:.3f})")
    Image.fromarray(arrays[0]).save("zero.png")
    print(model.predict(["zero.png", Image.fromarray(arrays[1])]))

    # the parts alone: a data module, a task and Lightning's own Trainer
    data = lit_cnn.Digits(batch_size=64)
    task = lit_cnn.ImageClassifier(
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        backbone="lenet_maxpool",
        optimizer="adamw",
        lr=0.003,
        lr_scheduler="one_cycle",
    )
    trainer = Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data)


if __name__ == "__main__":
    main()
