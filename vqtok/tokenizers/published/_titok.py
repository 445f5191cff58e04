"""The two vision transformers of TiTok (Yu et al. 2024, 2406.07550).

Patches and tokens go through one sequence, without a mask: the encoder keeps what became of the
tokens, the decoder what became of the patches, of which it is shown nothing but their positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD = 64
"""Channels per head of attention, in all published sizes."""

_HIDDEN = 4
"""How much wider than the sequence a block is inside."""


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.in_proj(x).unflatten(-1, (3, -1, HEAD))  # (B, S, 3, heads, d)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)  # (B, heads, S, d)
        out: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return out


class _Inner(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, _HIDDEN * width)
        self.c_proj = nn.Linear(_HIDDEN * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(F.gelu(self.c_fc(x)))
        return out


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = _Attention(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = _Inner(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class _Transformer(nn.Module):
    """Positions for a class token, grid² patches and the tokens, in this order, and the blocks."""

    def __init__(self, width: int, layers: int, *, grid: int, tokens: int) -> None:
        super().__init__()
        self.patches = grid * grid
        self.class_embedding = _drawn(1, width)
        self.positional_embedding = _drawn(self.patches + 1, width)
        self.latent_token_positional_embedding = _drawn(tokens, width)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.Sequential(*(_Block(width) for _ in range(layers)))
        self.ln_post = nn.LayerNorm(width)

    def _mixed(self, patches: Tensor, tokens: Tensor) -> Tensor:
        """Joins (B, grid², W) patches and (B, n, W) tokens to (B, 1 + grid² + n, W), unnormed."""
        first = self.class_embedding.expand(patches.shape[0], -1, -1)
        placed = torch.cat([first, patches], dim=1) + self.positional_embedding
        both = torch.cat([placed, tokens + self.latent_token_positional_embedding], dim=1)
        out: Tensor = self.transformer(self.ln_pre(both))
        return out


class Encoder(_Transformer):
    """(B, C, H, W) → (B, dim, tokens).

    Args:
        width: W, a multiple of ``HEAD``.
        layers: Blocks.
        grid: Patches per side.
        patch: Pixels per side of a patch.
        tokens: n.
        dim: D.
        channels: C.
        scrambled: As in the first published models, whose code takes the numbers of all tokens,
            token by token, for those of all channels, channel by channel.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        *,
        grid: int,
        patch: int,
        tokens: int,
        dim: int,
        channels: int,
        scrambled: bool,
    ) -> None:
        super().__init__(width, layers, grid=grid, tokens=tokens)
        self.scrambled = scrambled
        self.patch_embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.conv_out = nn.Conv2d(width, dim, 1)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Compute the latents of (n, W) tokens."""
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)  # (B, grid², W)
        mixed = self._mixed(patches, tokens.expand(x.shape[0], -1, -1))
        out = self.ln_post(mixed[:, 1 + self.patches :])  # (B, n, W)
        batch, count, width = out.shape
        out = out.reshape(batch, width, count) if self.scrambled else out.transpose(1, 2)
        latents: Tensor = self.conv_out(out[..., None])
        return latents[..., 0]


class Decoder(_Transformer):
    """(B, dim, tokens) → (B, W, grid, grid).

    Args:
        width: W, a multiple of ``HEAD``.
        layers: Blocks.
        grid: Patches per side.
        tokens: n.
        dim: D.
    """

    def __init__(self, width: int, layers: int, *, grid: int, tokens: int, dim: int) -> None:
        super().__init__(width, layers, grid=grid, tokens=tokens)
        self.grid = grid
        self.decoder_embed = nn.Linear(dim, width)
        self.mask_token = _drawn(1, 1, width)

    def forward(self, z_q: Tensor) -> Tensor:
        """Compute what became of each patch."""
        tokens = self.decoder_embed(z_q.transpose(1, 2))  # (B, n, W)
        mixed = self._mixed(self.mask_token.expand(z_q.shape[0], self.patches, -1), tokens)
        out: Tensor = self.ln_post(mixed[:, 1 : 1 + self.patches]).transpose(1, 2)
        return out.reshape(z_q.shape[0], -1, self.grid, self.grid)


def _drawn(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=shape[-1] ** -0.5))
