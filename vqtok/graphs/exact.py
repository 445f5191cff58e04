"""Decide near ties in float64: the argument of ``tokenizers/exact/recompute``, in numpy.

How far float32 errs in these graphs was measured on a probe when they were written; that is watched
on every latent that is recomputed. Should one err by more than half the tolerance, the tolerance
grows and all is decided again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vqtok.graphs.quantizers import Quantizer
from vqtok.protocols import RecomputeStats

MARGIN = 6.0
"""Of the largest error that a latent may have to the largest that the probe shows."""

Position = tuple[int, ...]
"""Index in the batch, and in each axis of the grid."""

Recompute = Callable[[Sequence[Position]], Sequence[np.ndarray]]
"""Positions → of each (D,) float64."""


class ExactCodes:
    """Gives codes of latents as float64 would.

    Args:
        quantizer: Gives the codes.
        error: Of float32 on the probe.
    """

    def __init__(self, quantizer: Quantizer, error: float) -> None:
        self.stats = RecomputeStats()
        self._quantizer, self._tolerance = quantizer, MARGIN * error
        self._lock = threading.Lock()

    def __call__(self, z: np.ndarray, recompute: Recompute, *, threads: int) -> np.ndarray:
        """Give the codes of (B, D, *grid) float32 latents.

        Args:
            z: What float32 made of some signals.
            recompute: Makes latents again in float64, from the same signals.
            threads: CPU threads to use.

        Returns:
            int64 (B, *grid), or (B, Q, *grid).
        """
        batch, sides = z.shape[0], z.shape[2:]
        rows = np.ascontiguousarray(np.moveaxis(z, 1, -1)).reshape(-1, z.shape[1])
        tolerance, known = self._tolerance, dict[int, np.ndarray]()
        while True:
            codes, near_tie = self._quantizer.assign(rows, tolerance=tolerance, threads=threads)
            which = np.flatnonzero(near_tie)
            if not len(which):
                break
            new = [int(each) for each in which if int(each) not in known]
            known.update(zip(new, _computed(recompute, new, (batch, *sides), threads), strict=True))
            latents = np.stack([known[int(each)] for each in which])
            codes[..., which] = self._quantizer.assign(latents, tolerance=0.0).codes
            worst = float(np.sqrt(np.square(latents - rows[which]).sum(axis=1)).max())
            if not worst > tolerance / 2:
                break
            tolerance = MARGIN * worst
        with self._lock:
            self.stats += RecomputeStats(len(rows), len(which))
        if codes.ndim == 1:
            return np.asarray(codes.reshape(batch, *sides))
        return np.ascontiguousarray(np.moveaxis(codes.reshape(-1, batch, *sides), 0, 1))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Look up (B, *grid) or (B, n, *grid) codes: (B, D, *grid) float32."""
        stacked = self._quantizer.stacked
        grid = (codes.shape[0], *codes.shape[2:]) if stacked else codes.shape
        flat = np.moveaxis(codes, 1, 0).reshape(codes.shape[1], -1) if stacked else codes.ravel()
        rows = self._quantizer.decode(flat.astype(np.int64))
        return np.ascontiguousarray(np.moveaxis(rows.reshape(*grid, -1), -1, 1))


def _computed(
    recompute: Recompute, rows: list[int], sides: Position, threads: int
) -> list[np.ndarray]:
    positions = [tuple(map(int, np.unravel_index(row, sides))) for row in rows]
    if threads == 1 or len(rows) < 2:
        return list(recompute(positions))
    count = min(threads, len(rows))
    parts = [
        positions[each * len(rows) // count : (each + 1) * len(rows) // count]
        for each in range(count)
    ]
    with ThreadPoolExecutor(count) as pool:
        return [latent for found in pool.map(recompute, parts) for latent in found]
