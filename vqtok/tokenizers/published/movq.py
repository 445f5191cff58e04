"""MoVQ (Zheng et al. 2022, arXiv:2209.09002), for published weights such as those of Kandinsky 2.

VQGAN with another decoder: its norms take the quantized map. The whole picture goes through, as in
VQGAN.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.residual import GROUPS, group_norm
from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published import vqgan
from vqtok.tokenizers.published._taming import Decoder, Sizes


@dataclass(frozen=True)
class Config(vqgan.Config):
    """Sizes of the network, as VQGAN's; ``groups`` is of the encoder, the decoder has 32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(each % GROUPS for each in self.widths):
            raise ValueError(f"widths must be multiples of {GROUPS}")

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return MoVQ(self)


class _Norm(nn.Module):
    """GroupNorm, whose scale and shift at each position come of the entry that lies there."""

    def __init__(self, width: int, *, dim: int) -> None:
        super().__init__()
        self.norm_layer = group_norm(width)
        self.conv_y = nn.Conv2d(dim, width, 1)
        self.conv_b = nn.Conv2d(dim, width, 1)

    def forward(self, x: Tensor, z_q: Tensor) -> Tensor:
        seen = F.interpolate(z_q, size=x.shape[-2:], mode="nearest")
        out: Tensor = self.norm_layer(x) * self.conv_y(seen) + self.conv_b(seen)
        return out


class MoVQ(vqgan.VQGAN):
    """Images ⇄ one grid of codes."""

    def _decoding(self, sizes: Sizes, dim: int) -> nn.Module:
        return Decoder(replace(sizes, norm=partial(_Norm, dim=dim)))

    def _paint(self, z_q: Tensor) -> Tensor:
        x: Tensor = self.decoder(self.post_quant_conv(z_q), z_q)
        return x
