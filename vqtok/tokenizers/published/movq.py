"""MoVQ (Zheng et al. 2022, arXiv:2209.09002), for published weights such as those of Kandinsky 2.

VQGAN with another decoder: its norms take the quantized map. The whole picture goes through, as in
VQGAN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vqtok.nn.residual import GROUPS
from vqtok.tokenizers.published import vqgan
from vqtok.tokenizers.published._movq import Decoder
from vqtok.tokenizers.published._taming import Sizes


@dataclass(frozen=True)
class Config(vqgan.Config):
    """Sizes of the network, as VQGAN's; ``groups`` is of the encoder, the decoder has 32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(each % GROUPS for each in self.widths):
            raise ValueError(f"widths must be multiples of {GROUPS}")

    def build(self, **context: Any) -> MoVQ:
        """Make the tokenizer with fresh weights."""
        return MoVQ(self)


class MoVQ(vqgan.VQGAN):
    """Images ⇄ one grid of codes."""

    def _decoding(self, sizes: Sizes, dim: int) -> nn.Module:
        return Decoder(sizes, dim)

    def _paint(self, z_q: Tensor) -> Tensor:
        x: Tensor = self.decoder(self.post_quant_conv(z_q), z_q)
        return x
