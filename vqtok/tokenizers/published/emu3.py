"""The vision tokenizer of Emu3 (Wang et al. 2024, 2409.18869), for single pictures.

MoVQ with layers over time on both sides, which turn every four frames into one grid of codes. A
picture is a film of four equal frames, as upstream has it; of what is decoded the first is taken,
and the others, which it does not depend on, are not painted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published import movq


@dataclass(frozen=True)
class Config(movq.Config):
    """Sizes of the network: those of MoVQ, and of the layers over time.

    Attributes:
        time_steps: Steps to half the rate, and back; 2: four frames have one grid of codes.
        time_blocks: Residual blocks over time on each side.
    """

    time_steps: int = 2
    time_blocks: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.time_steps <= 8 or self.time_blocks < 0:
            raise ValueError("time_steps must be 0 to 8, and time_blocks not negative")
        if self.dim != self.decoder_latent:
            raise ValueError("dim and decoder_latent differ: both go through the same layers")

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return Emu3(self)


class _Causal(nn.Module):
    """A convolution that sees two frames back and none ahead: (B, C, T, H, W)."""

    def __init__(self, inside: int, out: int, frames: int, side: int, *, step: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inside, out, (frames, side, side), (step, 1, 1))
        self._padding = (side // 2,) * 4 + (2, 0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, self._padding))
        return out


class _Block(nn.Module):
    """A residual block over time, with norms that were fixed by training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm3d(width), nn.BatchNorm3d(width)
        for norm in (self.norm1, self.norm2):
            # Of use in training only; without the flag its absence would be made good.
            norm.num_batches_tracked, norm.track_running_stats = None, False
        self.conv1, self.conv2 = _Causal(width, width, 3, 3), _Causal(width, width, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = x + self.conv2(F.silu(self.norm2(h)))
        return out


class _Time(nn.Module):
    """Layers over time of one side.

    Args:
        width: Channels.
        steps: Of the encoder, to half the rate each.
        blocks: Residual blocks, after the encoder's steps and before the decoder's.
        encodes: Whether they are the encoder's.
    """

    def __init__(self, width: int, steps: int, blocks: int, *, encodes: bool) -> None:
        super().__init__()
        frames, step = (4, 2) if encodes else (3, 1)
        self.steps = nn.ModuleList(
            _Causal(width, width, frames, 3, step=step) for _ in range(steps)
        )
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.encodes = encodes

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T, H, W) → (B, C, T', H, W)."""
        if self.encodes:
            for step in self.steps:
                x = F.silu(step(x))
        for block in self.blocks:
            x = block(x)
        if not self.encodes:
            for step in self.steps:
                x = F.silu(step(torch.stack([x, x], dim=3).flatten(2, 3)))
        return x


class Emu3(movq.MoVQ):
    """Images ⇄ one grid of codes."""

    decoding_parts = ("decoder_time", "decoder", "post_quant_conv")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._frames = 2**config.time_steps
        sizes = {"steps": config.time_steps, "blocks": config.time_blocks}
        self.encoder_time = _Time(config.latent, encodes=True, **sizes)
        self.quant_conv = _Causal(config.latent, config.dim, 3, 1)  # type: ignore[assignment]
        self.post_quant_conv = _Causal(config.dim, config.dim, 3, 1)  # type: ignore[assignment]
        self.decoder_time = _Time(config.dim, encodes=False, **sizes)

    def _analyse(self, x: Tensor) -> Tensor:
        h = self.encoder(x)[:, :, None].expand(-1, -1, self._frames, -1, -1)
        z: Tensor = self.quant_conv(self.encoder_time(h))
        return z[:, :, 0]

    def _paint(self, z_q: Tensor) -> Tensor:
        entries = z_q[:, :, None]
        both = torch.cat([self.post_quant_conv(entries), entries])
        latents, given = self.decoder_time(both)[:, :, 0].chunk(2)
        x: Tensor = self.decoder(latents, given)
        return x
