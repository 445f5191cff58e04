"""The discrete VAE of DALL-E (Ramesh et al. 2021, arXiv:2102.12092), for its published weights.

Pixels are squeezed into [0.1, 0.9] for the logit-Laplace likelihood and spread again; a code is the
largest of K scores. What the decoder's first convolution makes of a one-hot vector is an entry of a
table, and is kept as one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec
from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published._lookup import Scores
from vqtok.tokenizers.published._whole import WholeImages, one_grid

GROUPS = 4
STRIDE = 2 ** (GROUPS - 1)
EPS = 0.1
"""Of the logit-Laplace likelihood: how far pixels stay away from 0 and 1."""


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        hidden: Channels of the finest group; the others have 2, 4 and 8 times as many.
        blocks: Residual blocks per group.
        dim: D, channels of the entries.
        codebook_size: K.
        channels: Of the pictures.
    """

    hidden: int = 256
    blocks: int = 2
    dim: int = 128
    codebook_size: int = 8192
    channels: int = 3

    def __post_init__(self) -> None:
        if min(self.hidden // 4, self.blocks, self.dim, self.codebook_size, self.channels) < 1:
            raise ValueError("all sizes must be positive, and hidden at least 4")

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        return one_grid(self.codebook_size, STRIDE)

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return Dalle(self)


class _Block(nn.Module):
    """Four convolutions beside a shortcut; their sum is scaled down by the depth of the network."""

    def __init__(self, inside: int, out: int, *, sides: tuple[int, ...], gain: float) -> None:
        super().__init__()
        self.gain = gain
        widths = (inside, out // 4, out // 4, out // 4, out)
        self.id_path = nn.Conv2d(inside, out, 1) if inside != out else nn.Identity()
        parts: list[tuple[str, nn.Module]] = []
        for index, side in enumerate(sides):
            a, b = widths[index : index + 2]
            parts.append((f"relu_{index + 1}", nn.ReLU()))
            parts.append((f"conv_{index + 1}", nn.Conv2d(a, b, side, padding=side // 2)))
        self.res_path = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.id_path(x) + self.gain * self.res_path(x)
        return out


def _groups(
    config: Config, widths: tuple[int, ...], *, sides: tuple[int, ...], step: tuple[str, nn.Module]
) -> list[tuple[str, nn.Module]]:
    """Groups of blocks with a change of size between them; widths begin with what comes in."""
    gain = 1 / (GROUPS * config.blocks) ** 2
    groups: list[tuple[str, nn.Module]] = []
    for index in range(GROUPS):
        inside, out = widths[index : index + 2]
        parts: list[tuple[str, nn.Module]] = []
        for number in range(config.blocks):
            block = _Block(out if number else inside, out, sides=sides, gain=gain)
            parts.append((f"block_{number + 1}", block))
        if index < GROUPS - 1:
            parts.append(step)
        groups.append((f"group_{index + 1}", nn.Sequential(OrderedDict(parts))))
    return groups


class Dalle(WholeImages):
    """Images ⇄ one grid of codes."""

    decoding_parts = ("decoder",)

    def __init__(self, config: Config) -> None:
        super().__init__(config, multiple=STRIDE, channels=config.channels)
        n = config.hidden
        entry: tuple[str, nn.Module] = ("input", nn.Conv2d(config.channels, n, 7, padding=3))
        pool: tuple[str, nn.Module] = ("pool", nn.MaxPool2d(2))
        down = _groups(config, (n, n, 2 * n, 4 * n, 8 * n), sides=(3, 3, 3, 1), step=pool)
        self.encoder = nn.Sequential(OrderedDict([entry, *down]))
        self.quantize = Scores(config.codebook_size, 8 * n, config.dim)
        grow: tuple[str, nn.Module] = ("upsample", nn.Upsample(scale_factor=2, mode="nearest"))
        up = _groups(config, (config.dim, 8 * n, 4 * n, 2 * n, n), sides=(1, 3, 3, 3), step=grow)
        # Means and scales of the likelihood; only the means are shown.
        last: tuple[str, nn.Module] = ("output", nn.Conv2d(n, 2 * config.channels, 1))
        self.decoder = nn.Sequential(OrderedDict([*up, last]))

    def _analyse(self, x: Tensor) -> Tensor:
        seen = (1 - 2 * EPS) * (x + 1) / 2 + EPS
        return F.relu(self.encoder(seen))

    def _paint(self, z_q: Tensor) -> Tensor:
        h = z_q
        for name, part in self.decoder.named_children():
            h = part(F.relu(h) if name == "output" else h)
        means = torch.sigmoid(h[:, : self.channels])
        return (means - EPS) / (1 - 2 * EPS) * 2 - 1
