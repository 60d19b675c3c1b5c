"""Features and probabilities of images by a checkpoint's model, for ``lit-cnn check --ckpt_path``."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.checkpoint_argument import predict_data
from lit_cnn.cli.trained_task import trained_task
from lit_cnn.data import Images
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.loading.loader import Batch

_BATCH = 64


class FeatureModel:
    """A trained model that returns what its last dense layer sees.

    Args:
        record: Of the checkpoint.
    """

    def __init__(self, record: CheckpointRecord) -> None:
        self.record = record
        self.task = trained_task(record, "check").to("cuda" if torch.cuda.is_available() else "cpu")
        self._seen: list[Tensor] = []
        dense = [module for module in self.task.backbone.modules() if isinstance(module, nn.Linear)]
        if dense:  # otherwise, as in NiN, logits are the features
            dense[-1].register_forward_pre_hook(lambda _, args: self._seen.append(args[0].flatten(1)))

    def of_files(self, paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return features float32 (N, F) and probabilities float32 (N, K) of image files.

        Raises:
            UserError: One cannot be read.
        """
        data = Images(**{**predict_data(self.record, paths)["init_args"], "on_bad_image": "error"})
        data.batch_size = data.eval_batch_size = _BATCH
        data.setup("predict")
        return self.of_batches(data, data.predict_dataloader())

    @torch.inference_mode()
    def of_batches(self, data: ImageDataModule, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of the batches of a data set, in their order."""
        features, probs = [], []
        device = next(self.task.parameters()).device
        for batch in batches:
            self._seen.clear()
            image = data.on_after_batch_transfer(Batch(*(part.to(device) for part in batch)), 0).image
            logits = self.task(image)
            features.append((self._seen[-1] if self._seen else logits).float().cpu().numpy())
            probs.append(logits.float().softmax(1).cpu().numpy())
        return np.concatenate(features), np.concatenate(probs)
