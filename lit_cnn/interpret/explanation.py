"""Heat maps of one image by several methods, with what tells whether to believe them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from lit_cnn.interpret.faithfulness import deletion_insertion, rank_correlation
from lit_cnn.interpret.grad_cam import grad_cam, layer_cam
from lit_cnn.interpret.occlusion import Scores, occlusion


class Heat(NamedTuple):
    """A heat map of one image for one class.

    Attributes:
        method: Grad-CAM, LayerCAM or occlusion.
        map: float (H, W) in [0, 1].
        deletion: area in [0, 1], smaller is better; see :func:`lit_cnn.interpret.faithfulness.deletion_insertion`.
        insertion: area in [0, 1], larger is better.
        unlearned: rank correlation in [-1, 1] with the map of the network with shuffled weights; None: not asked for,
            or one of the maps is empty.
    """

    method: str
    map: Tensor
    deletion: float
    insertion: float
    unlearned: float | None


def explain_image(
    network: nn.Module,
    scores: Scores,
    image: Tensor,
    classes: Tensor,
    layer: str,
    shuffled: nn.Module | None = None,
) -> list[list[Heat]]:
    """Heat maps of an image: for each class one by each method.

    Args:
        network: a classifier in evaluation mode.
        scores: probabilities of its images.
        image: float (C, H, W), as the network gets it.
        classes: int64 (k,), the classes to explain.
        layer: of Grad-CAM and LayerCAM.
        shuffled: the network with shuffled weights, to compare Grad-CAM and LayerCAM with.

    Raises:
        UserError: there is no such layer.
    """
    images = image.expand(len(classes), -1, -1, -1)
    columns = []
    for method, make in {"Grad-CAM": grad_cam, "LayerCAM": layer_cam}.items():
        maps = make(network, images, classes, layer)
        unlearned = None if shuffled is None else rank_correlation(maps, make(shuffled, images, classes, layer))
        columns.append(_column(method, scores, images, classes, maps, unlearned))
    drops = occlusion(scores, images, classes).relu()
    top = drops.amax(dim=(1, 2), keepdim=True)
    maps = drops / top.where(top > 0, 1.0)
    columns.append(_column("occlusion", scores, images, classes, maps, None))
    return [list(row) for row in zip(*columns, strict=True)]


def _column(
    method: str, scores: Scores, images: Tensor, classes: Tensor, maps: Tensor, unlearned: Tensor | None
) -> list[Heat]:
    tested = deletion_insertion(scores, images, classes, maps)
    others = [None] * len(maps) if unlearned is None else [None if v != v else v for v in unlearned.tolist()]
    rows = zip(maps.cpu(), tested.deletion.tolist(), tested.insertion.tolist(), others, strict=True)
    return [Heat(method, *row) for row in rows]
