"""ConvNeXt-like blocks (arXiv:2201.03545) on (B, D, H, W) tensors; audio uses H = 1, W = T.

Everything here is local: a finite receptive field, norms over channels at one position, no
statistics over batch or space. That is what lets a tile with enough halo give the same latents as
the whole signal.

Memory format is channels-last throughout, so that norms and pointwise layers are plain matrix
products on (positions, channels) without a copy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.depthwise import Padding, depthwise

STRIP = 1 << 13
"""Positions that go through a block together when nothing has to be kept for a gradient: what lies
between its input and its output then takes a few MB, most of which stay in the cache."""

ROWS = 1 << 10
"""Positions that go through the block's wide layer together."""


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each position: (B, D, H, W) → the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position to zero mean and unit variance over D, then scale and shift."""
        positions = x.permute(0, 2, 3, 1)  # (B, H, W, D), contiguous under channels-last
        normed = F.layer_norm(positions, self.weight.shape, self.weight, self.bias)
        return normed.permute(0, 3, 1, 2)


class Pointwise(nn.Linear):
    """A linear layer at every position: (B, D, H, W) → (B, E, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply channels at each position."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """x + scale · MLP(norm(depthwise(x))): the ConvNeXt residual block.

    Args:
        width: D, channels in and out.
        kernel: (height, width) of the depthwise window; odd, or any width if causal.
        expansion: Hidden channels of the MLP per channel.
        causal: Pad on the left of W only, so that position t sees t - kernel + 1 … t.
        scale: Start value of the learned per-channel scale of the residual branch.
    """

    def __init__(
        self,
        width: int,
        *,
        kernel: tuple[int, int],
        expansion: int = 4,
        causal: bool = False,
        scale: float = 0.3,
    ) -> None:
        super().__init__()
        height, span = kernel
        side = (span - 1, 0) if causal else (span // 2, span // 2)
        self.padding: Padding = (*side, height // 2, height // 2)
        self.depthwise = nn.Conv2d(width, width, kernel, groups=width)
        self.norm = ChannelNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.project = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, D, H, W) → the same shape."""
        left, right, top, bottom = self.padding
        if torch.is_grad_enabled():
            y = self.norm(self._learn_to_mix(x)).permute(0, 2, 3, 1)  # (B, H, W, D)
            # Scaled weights instead of scaled positions, of which there are more.
            weight, bias = self.project.weight * self.scale[:, None], self.project.bias * self.scale
            y = F.linear(F.gelu(self.expand(y)), weight, bias)
            out: Tensor = x + y.permute(0, 3, 1, 2)
            return out
        batch, _, height, width = x.shape
        total = torch.empty_like(x, memory_format=torch.channels_last)
        step = max(1, STRIP // (batch * width))
        for start in range(0, height, step):
            stop = min(start + step, height)
            first, last = max(0, start - top), min(height, stop + bottom)
            beyond = (left, right, top - (start - first), bottom - (last - stop))
            y = self.norm(self._mix(F.pad(x[:, :, first:last], beyond)))
            total[:, :, start:stop] = self._add(x[:, :, start:stop], y)
        return total

    def inner(self, x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the part of the output that x alone determines, whatever lies around x.

        Args:
            x: (B, D, H, W).
            inside: (H, W) bool: positions of the signal; what is outside counts as the zeros that
                padding would put there.

        Returns:
            (B, D, H - height + 1, W - width + 1) for the kernel's height and width, and the same
            positions of ``inside``.
        """
        height, width = self.depthwise.weight.shape[-2:]
        rows, columns = x.shape[-2] - height + 1, x.shape[-1] - width + 1
        x = x * inside
        # Shifted sums, as depthwise convolutions in float64 have no kernel of their own.
        positions = x.permute(0, 2, 3, 1)  # (B, H, W, D)
        y = positions.new_zeros(len(x), rows, columns, x.shape[1])
        if self.depthwise.bias is not None:
            y += self.depthwise.bias
        for i in range(height):
            for j in range(width):
                part = positions[:, i : i + rows, j : j + columns]
                y.addcmul_(part, self.depthwise.weight[:, 0, i, j])
        left, _, top, _ = self.padding
        middle = (slice(top, top + rows), slice(left, left + columns))
        return self._add(x[(..., *middle)], self.norm(y.permute(0, 3, 1, 2))), inside[middle]

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of x and scale · MLP(y), both (B, D, H, W)."""
        y = y.permute(0, 2, 3, 1)  # (B, H, W, D)
        total = x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
        width = y.shape[-1]
        pairs = (torch.split(each.reshape(-1, width), ROWS) for each in (y, total))
        for row, part in zip(*pairs, strict=True):
            part += self.project(F.gelu(self.expand(row))) * self.scale
        return total.permute(0, 3, 1, 2)

    def _mix(self, padded: Tensor) -> Tensor:
        with torch.autocast(padded.device.type, enabled=padded.device.type != "cpu"):
            layer = self.depthwise
            padded = self._in_float32(padded)
            if padded.dtype == torch.float64:
                return depthwise(padded, layer.weight, layer.bias, (0, 0, 0, 0))
            return F.conv2d(padded, layer.weight, layer.bias, groups=layer.groups)

    def _learn_to_mix(self, x: Tensor) -> Tensor:
        """Returns ``_mix`` of the padded x, with its gradients."""
        if x.device.type != "cpu":
            return self._mix(F.pad(x, self.padding))
        with torch.autocast("cpu", enabled=False):
            layer = self.depthwise
            return depthwise(self._in_float32(x), layer.weight, layer.bias, self.padding)

    def _in_float32(self, x: Tensor) -> Tensor:
        """Channels-last; on CPUs of the weight's type: bf16 gradients are slower there."""
        x = x.to(self.depthwise.weight.dtype) if x.device.type == "cpu" else x
        return x.contiguous(memory_format=torch.channels_last)
