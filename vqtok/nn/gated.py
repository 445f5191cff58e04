"""A layer of gated causal convolutions in two stacks (arXiv:1606.05328, section 2.2, figure 2).

Windows include their own position: whoever uses the layers moves the input by one row (vertical
stack) and one column (horizontal stack) beforehand, so that a position sees what is before it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.attention import Attention, Caches, Turns


class Layer(nn.Module):
    """One gated layer of both stacks; position (i, j) of either sees what is before (i, j) alone.

    Args:
        width: C.
        kernel: Side of the window, of which half looks back.
        dropout: Share of what is added that training leaves out.
        conditioned: Whether something is given beside the codes.
        heads: Of the attention that follows; 0: none does.
    """

    def __init__(
        self, width: int, *, kernel: int, dropout: float, conditioned: bool, heads: int
    ) -> None:
        super().__init__()
        self.radius = kernel // 2
        self.vertical = nn.Conv2d(width, 2 * width, (self.radius + 1, kernel))
        self.horizontal = nn.Conv2d(width, 2 * width, (1, self.radius + 1))
        self.between = nn.Conv2d(2 * width, 2 * width, 1)
        self.leave = nn.Conv2d(width, width, 1)
        self.told = nn.Conv2d(width, 4 * width, 1, bias=False) if conditioned else None
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width, bias=False) if heads else None
        self.attention = Attention(width, heads=heads) if heads else None

    def forward(
        self, down: Tensor, right: Tensor, context: Tensor | None, positions: Turns
    ) -> tuple[Tensor, Tensor]:
        """Both stacks, (B, C, H, W) each → the same; ``context`` is (B, C, H, W) or broadcasts."""
        hints = self.hints(context)
        down, between = self.rows(F.pad(down, (0, 0, self.radius, 0)), hints[0])
        right = right + self.columns(F.pad(right, (self.radius, 0)), between, hints[1])
        if self.attention is None:
            return down, right
        mixed = self.attend(right.flatten(2).mT, positions)
        return down, right + mixed.mT.reshape(right.shape)

    def hints(self, context: Tensor | None) -> tuple[Tensor | float, Tensor | float]:
        """Returns what both stacks' gates get added."""
        if self.told is None or context is None:
            return 0.0, 0.0
        first, second = self.told(context).chunk(2, dim=1)
        return first, second

    def rows(self, seen: Tensor, hint: Tensor | float) -> tuple[Tensor, Tensor]:
        """Returns the vertical stack.

        Args:
            seen: (B, C, radius + n, W): the rows before, then those to compute.
            hint: For the gates.

        Returns:
            (B, C, n, W), and what the horizontal stack takes over, (B, 2C, n, W).
        """
        raw = self.vertical(F.pad(seen, (self.radius, self.radius)))
        return _gated(raw + hint), self.between(raw)

    def columns(self, seen: Tensor, between: Tensor, hint: Tensor | float) -> Tensor:
        """Returns what the horizontal stack adds.

        Args:
            seen: (B, C, n, radius + m): the columns before, then those to compute.
            between: (B, 2C, n, m) of the vertical stack.
            hint: For the gates.
        """
        out: Tensor = self.dropout(self.leave(_gated(self.horizontal(seen) + between + hint)))
        return out

    def attend(self, x: Tensor, positions: Turns, caches: Caches | None = None) -> Tensor:
        """Returns what attention adds to (B, n, C), positions in raster order."""
        if self.attention is None or self.norm is None:
            return torch.zeros_like(x)
        out: Tensor = self.dropout(self.attention(self.norm(x), positions, caches))
        return out


def _gated(x: Tensor) -> Tensor:
    """Eq. 2: tanh of one half of the channels times the sigmoid of the other."""
    a, b = x.chunk(2, dim=1)
    return a.tanh() * b.sigmoid()
