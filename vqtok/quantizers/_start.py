"""Warm a codebook up: latents pass unquantized while a sample of them is collected.

State that only training needs lives in submodules called ``learning``: their state dict keys hold
"learning.". A checkpoint for use may leave them out; what is missing starts anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vqtok import distributed
from vqtok.protocols import Assigned, Quantized
from vqtok.quantizers._rows import Grid, projection, stretch, to_rows
from vqtok.quantizers.search.candidates import NearTies


class Learning(nn.Module):
    """Buffers that a state dict may lack, or hold with another length."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in list(self.named_buffers(recurse=False)):
            stored = state_dict.setdefault(prefix + name, buffer)
            if stored.ndim == buffer.ndim and stored.shape[1:] == buffer.shape[1:]:
                setattr(self, name, buffer.new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


class Clock(Learning):
    """Counts training steps."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


class Sample(Learning):
    """Collects latents of the latest training steps, of all ranks: the same sample on each.

    Args:
        dim: d.
        capacity: Rows kept; the oldest go first, since the encoder has moved on from them.
    """

    rows: Tensor
    steps: Tensor
    latest: Tensor
    """(): rows that the last step brought."""

    def __init__(self, dim: int, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("rows", torch.zeros(0, dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("latest", torch.zeros((), dtype=torch.int64))

    def add(self, rows: Tensor) -> None:
        """Add the (N, d) latents of one step; none if one is NaN or infinite."""
        joint = distributed.gathered(rows)
        if not bool(joint.isfinite().all()):  # one such row would spoil every centre
            return
        self.rows = torch.cat((self.rows, joint))[-self.capacity :].clone()
        self.latest.fill_(len(joint))
        self.steps += 1

    def ready(self, warmup: int) -> bool:
        """Tell whether the warm-up is over and the sample full."""
        return int(self.steps) >= warmup and len(self.rows) >= self.capacity

    def take(self) -> Tensor:
        """Return the rows; the sample is empty afterwards."""
        rows, self.rows = self.rows, self.rows[:0].clone()
        return rows


class Settings(Protocol):
    """The fields that methods with a warm-up have in common."""

    @property
    def codebook_size(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def warmup(self) -> int: ...


class Warmed(nn.Module, ABC):
    """A quantizer whose entries are placed among the latents that a warm-up collected.

    Until ``initialised``, training passes latents through, with codes of zero and no loss;
    evaluation uses the entries as they are, which are random.

    Args:
        config: Of the method.
        dim: D of the latents.
        inner: d of the entries, with linear maps to and from it; None: D, without maps.
        depth: Q, stacked codebooks; None: codes have no q axis.

    Attributes:
        generator: Makes every random choice (a CPU generator; None: torch's global one).
    """

    initialised: Tensor

    def __init__(
        self, config: Settings, dim: int, *, inner: int | None = None, depth: int | None = None
    ) -> None:
        super().__init__()
        self.codebook_size, self.depth, self.warmup = config.codebook_size, depth, config.warmup
        self.generator: torch.Generator | None = None
        capacity = config.codebook_size * config.samples
        self.learning = Sample(inner or dim, capacity)
        self.register_buffer("initialised", torch.tensor(capacity == 0))
        self.project_in = projection(dim, inner)
        self.project_out = projection(inner or dim, dim if inner else None)

    def forward(self, z: Tensor) -> Quantized:
        """Quantize (B, D, *grid) latents; in training also learn from them."""
        grid, rows = Grid.of(z), self._rows(z)
        if not self.training or self.initialised:
            return self._quantize(rows, grid)
        self.learning.add(rows)
        if self.learning.ready(self.warmup):
            self.place_codebook()
            return self._quantize(rows, grid)
        shape = (grid.batch, *(() if self.depth is None else (self.depth,)), *grid.sides)
        codes = torch.zeros(shape, dtype=torch.int64, device=rows.device)
        return Quantized(grid.latents(self.project_out(rows)), codes, rows.new_zeros(()))

    @torch.no_grad()
    def assign(self, z: Tensor, *, tolerance: float) -> Assigned:
        """Give codes of (B, D, *grid) latents, and mark those that a move could change."""
        grid, rows = Grid.of(z), self.project_in(to_rows(z))
        ties = NearTies.of(rows, tolerance * stretch(self.project_in))
        codes = self._assign(rows, ties)
        return Assigned(grid.codes(codes), grid.codes(ties.found))

    def place_codebook(self) -> None:
        """Place the entries now, among what has been collected so far.

        For a run that ends before its warm-up does; nothing is done if they are placed already.
        """
        if not self.initialised and len(self.learning.rows):
            self._place(self.learning.take(), latest=int(self.learning.latest))
            self.initialised.fill_(True)

    def restart(self) -> bool:
        """Place the entries anew, for a codebook that has collapsed or lost its latents.

        As at the start, training passes latents through until a sample is full; not for longer,
        however long ``warmup`` is, since the encoder is no longer new. Evaluation goes on with the
        entries that there are.

        Returns:
            False for a method that starts without a sample: nothing is done.
        """
        if not self.learning.capacity:
            return False
        if self.initialised:
            self.learning.steps.fill_(self.warmup)
            self.initialised.fill_(False)
        return True

    def begin_averages(self) -> None:
        """Make moving averages fit the entries as they are; without averages nothing is done."""

    def _rows(self, z: Tensor) -> Tensor:
        """Maps (B, D, *grid) → (N, d) rows that training quantizes and collects."""
        rows: Tensor = self.project_in(to_rows(z))
        return rows

    @abstractmethod
    def _quantize(self, rows: Tensor, grid: Grid) -> Quantized:
        """Quantize (N, d) rows among entries that are placed."""

    @abstractmethod
    def _assign(self, rows: Tensor, ties: NearTies) -> Tensor:
        """Find the codes of (N, d) rows, (N,) or (Q, N), and mark near ties."""

    @abstractmethod
    def _place(self, sample: Tensor, *, latest: int) -> None:
        """Place the entries among a sample, (S, d), of steps that bring ``latest`` rows each."""
