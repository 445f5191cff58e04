"""How a finer level is conditioned on coarser ones: their codes, spread over its grid.

The conditioning stack of VQ-VAE-2's bottom prior (arXiv:1906.00446, section 3.2 and table 4). All
coarse codes are there before the first fine one, so its network looks in all directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqtok.codes.spec import SPATIAL, LevelSpec
from vqtok.errors import ConfigError
from vqtok.nn.convnext import Block, ChannelNorm


class Above(nn.Module):
    """Codes of coarser levels → a vector for each position of a finer one.

    Args:
        coarser: Levels, coarse → fine.
        level: The finer level.
        width: D.
        blocks: ConvNeXt blocks on the finer grid.
        depth: Stages of stacked codebooks that there are; None: all.
        scale: Size of the vectors' numbers at first.

    Raises:
        ConfigError: a level without a grid, or of another kind than images' and audio's.
    """

    def __init__(
        self,
        coarser: Sequence[LevelSpec],
        level: LevelSpec,
        *,
        width: int,
        blocks: int = 2,
        depth: int | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        for each in (*coarser, level):
            grid = [axis for axis in each.axes if axis in SPATIAL]
            if len(grid) not in (1, 2):
                raise ConfigError(f"level {each.name!r}: no line or grid to spread codes over")
        self.coarser, self.level, self.depth = tuple(coarser), level, depth
        self.tables = nn.ModuleList(
            nn.Embedding((each.depth or 1) * each.codebook_size, width) for each in coarser
        )
        # Which of the positions under a coarse code: convolutions alone cannot see that.
        self.phases = nn.ModuleList(
            nn.Embedding(-(-above // below), width)
            for each in coarser
            for above, below in zip(each.stride, level.stride, strict=True)
        )
        kernel = (3, 3) if len(level.stride) > 1 else (1, 5)
        norm = ChannelNorm(width)
        nn.init.constant_(norm.weight, scale)
        self.blocks = nn.Sequential(*(Block(width, kernel=kernel) for _ in range(blocks)), norm)

    def forward(self, coarse: Tensor, extent: tuple[int, ...]) -> Tensor:
        """Spread and mix.

        Args:
            coarse: int64 (B, n), flat codes of the coarser levels.
            extent: Of the signal.

        Returns:
            (B, D, H, W) on the finer grid; of audio (B, D, 1, T).
        """
        grid = _grid(self.level, extent)
        rank = len(grid)
        shapes = [each.shape(extent, depth=self.depth) for each in self.coarser]
        parts = torch.split(coarse, [int(torch.Size(s).numel()) for s in shapes], dim=1)
        x: Tensor | None = None
        for number, (level, shape, part) in enumerate(
            zip(self.coarser, shapes, parts, strict=True)
        ):
            y = self._vectors(number, part.reshape(-1, *shape))  # (B, *coarse grid, D)
            for axis in range(rank):
                positions = torch.arange(grid[axis], device=coarse.device) * self.level.stride[axis]
                phase = positions % level.stride[axis] // self.level.stride[axis]
                above = (positions // level.stride[axis]).clamp(max=y.shape[1 + axis] - 1)
                which = self.phases[number * rank + axis](phase)  # (size, D)
                y = y.index_select(1 + axis, above)
                y = y + which.reshape(-1, *(1 for _ in range(rank - 1 - axis)), which.shape[-1])
            x = y if x is None else x + y
        if x is None:
            raise ConfigError(f"level {self.level.name!r}: there is no coarser one")
        picture = x[:, None] if rank == 1 else x
        mixed: Tensor = self.blocks(picture.permute(0, 3, 1, 2))
        return mixed

    def _vectors(self, number: int, codes: Tensor) -> Tensor:
        """Maps (B, *axes) codes → (B, *grid, D); stages are summed."""
        level, table = self.coarser[number], self.tables[number]
        if "q" not in level.axes:
            found: Tensor = table(codes)
            return found
        codes = codes.movedim(1 + level.axes.index("q"), -1)
        firsts = torch.arange(codes.shape[-1], device=codes.device) * level.codebook_size
        summed: Tensor = table(codes + firsts).sum(dim=-2)
        return summed


def _grid(level: LevelSpec, extent: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-size // step) for size, step in zip(extent, level.stride, strict=True))
