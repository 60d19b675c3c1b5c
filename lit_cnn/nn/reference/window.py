"""Arguments of sliding windows (stride, padding, dilation) as pairs, and the output size of a map."""

from __future__ import annotations

from torch import Tensor

Pair = tuple[int, int]  # rows, columns
Setting = int | tuple[int, ...]  # one number for both axes, or a pair


def pair(name: str, value: Setting, least: int = 0) -> Pair:
    """A number for both axes, or one for rows and one for columns, as a pair.

    Args:
        name: of the setting, for the message.
        least: smallest number allowed.

    Raises:
        ValueError: it is neither, or too small.
    """
    numbers = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(numbers) != 2 or not all(isinstance(n, int) and n >= least for n in numbers):
        raise ValueError(f"{name} must be a whole number from {least} up or two of them (rows, columns), got {value!r}")
    return numbers[0], numbers[1]


def as_batch(x: Tensor) -> Tensor:
    """An image (H, W) or (C, H, W) as a batch of one; other tensors unchanged."""
    return x.reshape((1,) * (4 - x.dim()) + x.shape) if x.dim() in (2, 3) else x


def like_input(out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """A map (N, O, H', W') without the axes that ``as_batch`` gave to the kernels (O) and the images (N)."""
    out = out[:, 0] if weight.dim() < 4 else out
    return out[0] if x.dim() < 4 else out


def borders(padding: Setting | str, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """Rows of padding above and below, columns of it left and right.

    Args:
        padding: pixels on both sides, or ``valid`` (none), or ``same`` (the map keeps the size of the image). Where
            ``same`` needs an odd number, the larger half goes below and to the right, as in PyTorch.

    Raises:
        ValueError: another word, a negative number, or ``same`` with a stride.
    """
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"padding='same' keeps the size of the image, which stride {stride} does not")
        rows, columns = ((k - 1) * d for k, d in zip(kernel, dilation, strict=True))
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
    if isinstance(padding, str) and padding != "valid":
        raise ValueError(f"padding must be a number of pixels, two of them, 'same' or 'valid', got {padding!r}")
    rows, columns = (0, 0) if isinstance(padding, str) else pair("padding", padding)
    return (rows, rows), (columns, columns)


def map_size(x: Tensor, kernel: Pair, stride: Pair, border: tuple[Pair, Pair], dilation: Pair = (1, 1)) -> Pair:
    """Rows and columns of windows that fit into the images ``x`` (N, C, H, W), (C, H, W) or (H, W) with their borders.

    H' = (H + above + below - dilation * (kernel - 1) - 1) // stride + 1, W' the same.

    Raises:
        ValueError: ``x`` has not two to four dimensions, or no window fits.
    """
    if x.dim() not in (2, 3, 4):
        raise ValueError(f"images must be of shape (N, C, H, W), (C, H, W) or (H, W), got {tuple(x.shape)}")
    height, width = (n + sum(b) for n, b in zip(x.shape[-2:], border, strict=True))
    rows, columns = (d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if rows > height or columns > width:
        spread = "" if dilation == (1, 1) else f" with dilation {dilation}, {rows}x{columns} pixels,"
        padded = "" if border == ((0, 0), (0, 0)) else " with its padding"
        raise ValueError(
            f"a {kernel[0]}x{kernel[1]} kernel{spread} is larger than an image of {height}x{width}{padded}"
        )
    return (height - rows) // stride[0] + 1, (width - columns) // stride[1] + 1


def check_channels(x: Tensor, weight: Tensor, groups: int, *, transposed: bool = False) -> None:
    """Check that images and kernels fit each other.

    Args:
        x: (N, C, H, W).
        weight: (O, C / groups, kH, kW), or if ``transposed`` (C, O / groups, kH, kW).

    Raises:
        ValueError: with both shapes in the message.
    """
    if x.dim() == weight.dim() == 4 and groups >= 1:
        channels = weight.shape[0] if transposed else weight.shape[1] * groups
        # Either way, the kernels of the first dimension are distributed over the groups.
        if x.shape[1] == channels and weight.shape[0] % groups == 0:
            return
    layout = "(C, O / groups, kH, kW)" if transposed else "(O, C / groups, kH, kW)"
    raise ValueError(
        f"images (N, C, H, W) of shape {tuple(x.shape)} in {groups} groups do not fit "
        f"a weight {layout} of shape {tuple(weight.shape)}"
    )
