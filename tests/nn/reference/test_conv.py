from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from lit_cnn.nn.reference.conv import DepthwiseSeparableConv2d, HandConv2d, conv2d, conv_transpose2d
from lit_cnn.nn.reference.loops import conv2d_loops, conv_transpose2d_loops, pool2d_loops
from lit_cnn.nn.reference.pool import avg_pool2d, max_pool2d

CASES = [
    {},
    {"stride": 2},
    {"padding": 2},
    {"dilation": 2, "padding": 1},
    {"groups": 2},
    {"stride": 3, "padding": 2, "dilation": 2, "groups": 4},
    {"stride": (1, 2), "padding": (2, 0), "dilation": (2, 1)},
    {"stride": (3, 1), "padding": (0, 1), "groups": 2},
    {"padding": "same", "dilation": (1, 3)},
    {"padding": "valid", "stride": 2},
]


def tensor(*shape: int) -> Tensor:
    return torch.arange(float(torch.Size(shape).numel())).view(shape)


def compare(mine: Callable[..., Tensor], reference: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Outputs and gradients to every input, to 1e-5."""
    results = []
    for function in (mine, reference):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = function(*leaves)
        torch.manual_seed(1)
        out.backward(torch.randn(out.shape))
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch on its own speed
@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 2)])
@pytest.mark.parametrize("function", [conv2d, conv2d_loops])
def test_convolution_and_its_gradients_equal_torchs(function: Callable, kernel: tuple, options: dict) -> None:
    torch.manual_seed(0)
    side = 8 if function is conv2d else 6
    n, filters = (3, 8) if function is conv2d else (2, 4)
    x, bias = torch.randn(n, 4, side, side - 1), torch.randn(filters)
    weight = torch.randn(filters, 4 // options.get("groups", 1), *kernel)
    compare(lambda *t: function(*t, **options), lambda *t: F.conv2d(*t, **options), x, weight, bias)
    assert torch.allclose(function(x, weight, **options), F.conv2d(x, weight, **options), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"groups": 2, "dilation": 2},
        {"stride": 3, "padding": 2, "output_padding": 2, "groups": 2},
        {"stride": (2, 3), "padding": (0, 2), "output_padding": (1, 0), "dilation": (3, 1)},
    ],
)
def test_transposed_convolution_and_its_gradients_equal_torchs(options: dict) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 4, 5, 4), torch.randn(4, 3, 3, 2), torch.randn(3 * options.get("groups", 1))
    compare(
        lambda *t: conv_transpose2d(*t, **options), lambda *t: F.conv_transpose2d(*t, **options), x, weight, bias
    )  # fmt: skip


def test_transposed_convolution_by_loops_equals_torchs() -> None:
    x, weight = torch.randn(2, 2, 3, 3), torch.randn(2, 3, 2, 2)
    expected = F.conv_transpose2d(x, weight, stride=2, padding=1)
    torch.testing.assert_close(conv_transpose2d_loops(x, weight, stride=2, padding=1), expected)


def test_transposed_convolution_is_the_gradient_of_convolution_to_its_input() -> None:
    x = torch.randn(1, 2, 7, 7, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3)
    out = conv2d(x, weight, stride=2, padding=1)
    gradient = torch.randn(out.shape)
    out.backward(gradient)
    torch.testing.assert_close(conv_transpose2d(gradient, weight, stride=2, padding=1), x.grad)


def test_worked_example_one_channel() -> None:
    for function in (conv2d, conv2d_loops):
        assert function(tensor(1, 1, 3, 3), tensor(1, 1, 2, 2)).tolist() == [[[[19, 25], [37, 43]]]]


def test_worked_example_two_channels() -> None:
    x = torch.cat([tensor(1, 1, 3, 3), tensor(1, 1, 3, 3) + 1], 1)
    kernel = torch.cat([tensor(1, 1, 2, 2), tensor(1, 1, 2, 2) + 1], 1)
    for function in (conv2d, conv2d_loops):
        assert function(x, kernel).tolist() == [[[[56, 72], [104, 120]]]]


def test_worked_example_transposed() -> None:
    for function in (conv_transpose2d, conv_transpose2d_loops):
        out = function(tensor(1, 1, 2, 2), tensor(1, 1, 2, 2))
        assert out.tolist() == [[[[0, 0, 1], [0, 4, 6], [4, 12, 9]]]]


def test_the_edge_detector_is_learnt_by_gradient_descent() -> None:
    torch.manual_seed(0)
    x = torch.ones(1, 1, 6, 8)
    x[..., 2:6] = 0
    edges = conv2d(x, torch.tensor([[[[1.0, -1.0]]]]))
    layer = HandConv2d(1, 1, (1, 2), bias=False)
    for _ in range(30):
        loss = (layer(x) - edges).square().sum()
        layer.weight.grad = None
        loss.backward()
        with torch.no_grad():
            layer.weight -= 0.03 * layer.weight.grad
    assert (layer.weight.detach().flatten() - torch.tensor([1.0, -1.0])).abs().max() < 0.05


def test_the_hand_layer_has_the_parameters_and_result_of_torchs() -> None:
    theirs = nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2)
    mine = HandConv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(mine(x), theirs(x))
    torch.manual_seed(0)
    spread = HandConv2d(16, 64, 3).weight.std().item()
    assert spread == pytest.approx(nn.Conv2d(16, 64, 3).weight.std().item(), rel=0.03)


@pytest.mark.parametrize("groups", [(1, 1), (2, 6)])
def test_the_number_of_operations_on_values_grows_with_neither_taps_nor_channels_nor_groups_nor_images(
    groups: tuple[int, int],
) -> None:
    class Copies(TorchDispatchMode):
        """Operations that make values, as opposed to views."""

        def __torch_dispatch__(
            self, operation: OpOverload, types: object, args: tuple = (), kwargs: dict | None = None
        ) -> object:
            if not operation.is_view:
                done.append(operation.overloadpacket.__name__)
            return operation(*args, **(kwargs or {}))

    counted = []
    for (channels, filters, kernel, side, n), group in zip(
        ((12, 18, 2, 6, 2), (24, 36, 7, 20, 5)), groups, strict=True
    ):
        done: list[str] = []
        with Copies():
            HandConv2d(channels, filters, kernel, groups=group)(torch.zeros(n, channels, side, side))
        counted.append(Counter(done))
    assert counted[0] == counted[1]
    assert counted[0]["bmm"] == 1


def test_depthwise_separable_is_a_grouped_convolution_then_a_1x1_one() -> None:
    layer = DepthwiseSeparableConv2d(6, 10, 3, stride=2, padding=1)
    x = torch.randn(2, 6, 9, 9)
    expected = F.conv2d(x, layer[0].weight, layer[0].bias, stride=2, padding=1, groups=6)
    torch.testing.assert_close(layer(x), F.conv2d(expected, layer[1].weight, layer[1].bias))
    assert layer[0].weight.numel() + layer[1].weight.numel() == 6 * 9 + 6 * 10


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2},
        {"kernel_size": (4, 3), "padding": "same", "bias": False},
    ],
)
def test_the_hand_layer_is_described_initialised_and_named_as_torchs(options: dict) -> None:
    layers = []
    for cls in (nn.Conv2d, HandConv2d):
        torch.manual_seed(0)
        layers.append(cls(4, 6, **options))
    theirs, mine = layers
    assert mine.extra_repr() == theirs.extra_repr()
    for name in ("kernel_size", "stride", "padding", "dilation", "groups", "in_channels", "out_channels"):
        assert getattr(mine, name) == getattr(theirs, name)
    torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    x = torch.randn(2, 4, 9, 8)
    torch.testing.assert_close(mine(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_under_autocast_the_hand_layer_gives_bf16_as_torchs_does_and_learns_in_float(bias: bool) -> None:
    torch.manual_seed(0)
    theirs, mine = nn.Conv2d(4, 6, 3, bias=bias), HandConv2d(4, 6, 3, bias=bias)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        actual, expected = mine(x), theirs(x)
    assert actual.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(actual, expected, rtol=0.02, atol=0.02)
    for out in (actual, expected):
        out.float().square().sum().backward()
    for parameter, reference in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert parameter.grad.dtype == torch.float32
        torch.testing.assert_close(parameter.grad, reference.grad, rtol=0.05, atol=0.5)


def test_under_autocast_transposed_convolution_gives_bf16_as_torchs_does() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 4, 5, 5), torch.randn(4, 3, 3, 3), torch.randn(3)
    with torch.autocast("cpu", torch.bfloat16):
        actual, expected = conv_transpose2d(x, weight, bias, 2), F.conv_transpose2d(x, weight, bias, 2)
    assert actual.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(actual, expected, rtol=0.05, atol=0.1)


def test_a_hand_layer_compiles_without_a_graph_break() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = HandConv2d(2, 4, 3, stride=(1, 2), padding=1, groups=2)
    compare(torch.compile(layer, backend="aot_eager", fullgraph=True), layer, torch.randn(2, 2, 6, 6))


@pytest.mark.parametrize("function", [conv2d, conv2d_loops])
def test_images_and_kernels_that_do_not_fit_are_refused(function: Callable) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 5, 5\) in 2 groups do not fit .* \(4, 1, 3, 3\)"):
        function(torch.zeros(1, 3, 5, 5), torch.zeros(4, 1, 3, 3), groups=2)
    with pytest.raises(ValueError, match=r"\(1, 2, 5, 5\) in 1 groups do not fit"):
        function(torch.zeros(2, 5, 5), torch.zeros(4, 3, 3, 3))
    with pytest.raises(ValueError, match=r"\(5,\) in 1 groups do not fit"):
        function(torch.zeros(5), torch.zeros(4, 3, 3, 3))
    wide = r"3x2 kernel with dilation \(3, 1\), 7x2 pixels, is larger than an image of 5x6 with its padding"
    with pytest.raises(ValueError, match=wide):
        function(torch.zeros(1, 1, 5, 4), torch.zeros(1, 1, 3, 2), padding=(0, 1), dilation=(3, 1))


def test_transposed_convolution_refuses_what_does_not_fit() -> None:
    for function in (conv_transpose2d, conv_transpose2d_loops):
        with pytest.raises(ValueError, match=r"\(1, 3, 5, 5\) in 1 groups do not fit .* \(4, 1, 3, 3\)"):
            function(torch.zeros(1, 3, 5, 5), torch.zeros(4, 1, 3, 3))
    image, weight = torch.zeros(1, 4, 1, 1), torch.zeros(4, 1, 3, 3)
    with pytest.raises(ValueError, match="in 3 groups do not fit"):
        conv_transpose2d(image, weight, groups=3)
    with pytest.raises(ValueError, match="padding 2 removes the entire output of 3x3"):
        conv_transpose2d(image, weight, padding=2)
    with pytest.raises(ValueError, match="output_padding 1 must be below stride 1 or dilation 1"):
        conv_transpose2d(image, weight, output_padding=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 2}, "groups=2 must divide 3 and 4 channels"),
        ({"stride": 0}, "stride must be a whole number from 1 up or two of them .* got 0"),
        ({"stride": (1, 2, 3)}, r"stride must be .* got \(1, 2, 3\)"),
        ({"padding": -1}, "padding must be a whole number from 0 up or two of them .* got -1"),
        ({"padding": "full"}, "padding must be a number of pixels, two of them, 'same' or 'valid', got 'full'"),
        ({"padding": "same", "stride": 2}, "padding='same' keeps the size of the image"),
        ({"dilation": 1.5}, "dilation must be .* got 1.5"),
        ({"kernel_size": (3, 0)}, r"kernel_size must be .* got \(3, 0\)"),
    ],
)
def test_the_hand_layer_refuses_settings_when_it_is_made(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HandConv2d(3, 4, **({"kernel_size": 3} | options))


def test_pooling_by_loops_equals_the_sliced_form() -> None:
    x = torch.randn(2, 3, 7, 6)
    assert torch.equal(pool2d_loops(x, 3, 2, "max"), max_pool2d(x, 3, 2)[0])
    torch.testing.assert_close(pool2d_loops(x, 3, 2, "avg"), avg_pool2d(x, 3, 2))
    assert torch.equal(pool2d_loops(x[0, 0], 3, 2, "max"), max_pool2d(x, 3, 2)[0][0, 0])
    with pytest.raises(ValueError, match="mode must be max or avg, got 'min'"):
        pool2d_loops(x, 3, 2, "min")


def _network(conv: Callable[..., nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        conv(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        conv(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def test_a_network_of_hand_layers_trains_as_one_of_torchs() -> None:
    torch.manual_seed(0)
    x, target = torch.randn(32, 3, 16, 16), torch.arange(32) % 10
    theirs, mine = _network(nn.Conv2d), _network(HandConv2d)
    mine.load_state_dict(theirs.state_dict())
    for network in (theirs, mine):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(network(x), target).backward()
            optimizer.step()
    for parameter, expected in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, atol=1e-5, rtol=0)
