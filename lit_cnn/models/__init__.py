"""The model package: every network by name. Pure torch, one family a file.

A family file (``lenet.py``, ``resnet.py``, …) is built as blocks -> network -> factories: the layers it repeats, one
``nn.Module`` with every variation as an argument, and at the end ``add_models`` with a ``ModelInfo`` for each name.
Files whose names begin with an underscore are shared: ``_registry`` (names), ``_factory`` (building by name),
``_external`` (torchvision, timm), ``_argument_check`` and ``_input_check`` (errors of one line), ``_freeze`` (heads and
blocks), ``_weights``, ``_weight_files``, ``_weight_entries``, ``_safe_load``, ``_foreign_files`` (pretrained weights).

To add a family: its file; its line below; a small form in ``tests/models/helpers.py`` and a parameter count in
``tests/models/parameter_sums.py``; then ``python -m tools.measure_models``. A network of your own needs none of that:
decorate it with ``register_model``.

A model maps float images (N, C, H, W) to logits (N, K). In training mode it may return ``(logits, *aux_logits)``; in
eval mode it returns logits alone. Auxiliary heads are children whose names begin with ``aux``. Arguments that have no
effect in the network as it was built are in its ``unused_arguments``, each with the reason; ``get_model`` refuses them.

A model with ``task="restoration"`` maps images (N, C, H, W) to images of the same shape instead, in both modes.
"""

# isort: off
# Families in the order in which list_models gives them.
from lit_cnn.models import mlp, lenet, mnist_cnn, alexnet, vgg, nin  # noqa: F401
from lit_cnn.models import googlenet, resnet, densenet, residual_cifar, toynets, airbench  # noqa: F401
from lit_cnn.models import restoration  # noqa: F401
# isort: on

from lit_cnn.models._factory import get_model, list_models, model_arguments
from lit_cnn.models._freeze import auxiliary_heads, find_head, freeze
from lit_cnn.models._input_check import input_error, smallest_input
from lit_cnn.models._registry import MODELS, ModelInfo, register_model
from lit_cnn.models._weights import WeightsReport, load_weights

__all__ = [
    "MODELS",
    "ModelInfo",
    "WeightsReport",
    "auxiliary_heads",
    "find_head",
    "freeze",
    "get_model",
    "input_error",
    "list_models",
    "load_weights",
    "model_arguments",
    "register_model",
    "smallest_input",
]
