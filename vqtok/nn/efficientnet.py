"""EfficientNet-Lite0 up to stride 16, as a source of features (Tan and Le 2019, arXiv:1905.11946).

The Lite variants have neither squeeze-and-excitation nor swish: inverted residuals with ReLU6.
Restated for use with frozen weights: batch norms are folded into the convolutions before them, and
nothing after the last features is there. Padding is TensorFlow's "same", as the weights expect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = (
    # inputs, outputs, kernel, stride, expansion: efficientnet_lite_builder.py of the paper's code
    (32, 16, 3, 1, 1),
    (16, 24, 3, 2, 6),
    (24, 24, 3, 1, 6),
    (24, 40, 5, 2, 6),
    (40, 40, 5, 1, 6),
    (40, 80, 3, 2, 6),
    (80, 80, 3, 1, 6),
    (80, 80, 3, 1, 6),
    (80, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
)

TAPS = (1, 3, 5, 11)
"""Blocks that leave a resolution: their expansions are the last features at stride 2, 4, 8 and 16.
The block after ``BLOCKS`` is only entered."""

EPSILON = 1e-3
"""Of the batch norms; TensorFlow's default."""


class Features(nn.Module):
    """Images → feature maps of growing stride.

    Args:
        state: Tensors named as in the PyPI package efficientnet-lite-pytorch:
            ``_conv_stem.weight``, ``_bn0.{weight,bias,running_mean,running_var}``,
            ``_blocks.N._{expand,depthwise,project}_conv.weight`` and ``_blocks.N._bn{0,1,2}.…``;
            what the features do not need may be there or not.

    Raises:
        KeyError: a tensor is missing; its argument is the name.
        ValueError: a tensor has another shape.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stem = _folded(state, "_conv_stem", "_bn0", (32, 3, 3, 3), stride=2)
        self.blocks = nn.ModuleList(
            Inverted(state, f"_blocks.{index}.", *sizes) for index, sizes in enumerate(BLOCKS)
        )
        self.top = _folded(state, "_blocks.11._expand_conv", "_blocks.11._bn0", (672, 112, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps after ReLU6, at stride 2, 4, 8 and 16.

        Args:
            x: (B, 3, H, W) float RGB in [-1, 1].

        Returns:
            (B, 96, H/2, W/2), (B, 144, H/4, W/4), (B, 240, H/8, W/8), (B, 672, H/16, W/16), sides
            rounded up, each value in [0, 6].
        """
        # The weights were trained on (v - 127) / 128 of 8-bit values v.
        x = self.stem((x * 127.5 + 0.5) / 128.0)
        x, found = F.relu6(x), []
        for index, block in enumerate(self.blocks):
            x, wide = block(x)
            if index in TAPS:
                found.append(wide)
        return [*found, F.relu6(self.top(x))]


class Inverted(nn.Module):
    """An inverted residual block (arXiv:1801.04381) that also gives what it is wide within."""

    def __init__(
        self,
        state: Mapping[str, Tensor],
        prefix: str,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        expansion: int,
    ) -> None:
        super().__init__()
        wide = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand: nn.Module = nn.Identity()
        if expansion > 1:
            shape = (wide, inputs, 1, 1)
            self.expand = _folded(state, prefix + "_expand_conv", prefix + "_bn0", shape)
        shape = (wide, 1, kernel, kernel)
        self.depthwise = _folded(
            state, prefix + "_depthwise_conv", prefix + "_bn1", shape, stride=stride
        )
        shape = (outputs, wide, 1, 1)
        self.project = _folded(state, prefix + "_project_conv", prefix + "_bn2", shape)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, inputs, H, W) to the next block's input and the features before the stride."""
        wide = F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(wide)))
        return (x + y if self.residual else y), wide


class Same(nn.Conv2d):
    """A convolution with TensorFlow's padding: ceil(side / stride) positions, the odd one last."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) → (B, E, ceil(H / stride), ceil(W / stride))."""
        amounts: list[int] = []
        for axis in (1, 0):
            side, kernel, stride = x.shape[axis - 2], self.kernel_size[axis], self.stride[axis]
            total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
            amounts += [total // 2, total - total // 2]
        return super().forward(F.pad(x, amounts) if any(amounts) else x)


def _folded(
    state: Mapping[str, Tensor],
    convolution: str,
    norm: str,
    shape: tuple[int, int, int, int],
    *,
    stride: int = 1,
) -> Same:
    """Makes a convolution and the batch norm after it as one."""
    weight = _tensor(state, f"{convolution}.weight", shape)
    vectors = ("weight", "bias", "running_mean", "running_var")
    gain, bias, mean, variance = (_tensor(state, f"{norm}.{v}", shape[:1]) for v in vectors)
    scale = gain / (variance + EPSILON).sqrt()
    groups = shape[0] if shape[1] == 1 else 1
    layer = Same(shape[1] * groups, shape[0], shape[2], stride=stride, groups=groups)
    with torch.no_grad():
        layer.weight.copy_(weight * scale[:, None, None, None])
        if layer.bias is not None:
            layer.bias.copy_(bias - mean * scale)
    return layer


def _tensor(state: Mapping[str, Tensor], name: str, shape: Iterable[int]) -> Tensor:
    found = state[name]
    if tuple(found.shape) != tuple(shape):
        raise ValueError(f"{name}: shape {tuple(found.shape)} found, {tuple(shape)} expected")
    return found.double()
