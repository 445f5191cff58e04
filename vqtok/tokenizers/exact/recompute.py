"""Decide near ties in float64: codes that would hang on the last bits of a latent.

Kernels round differently for other shapes, numbers of threads and machines. Most codes do not care:
the nearest entry is nearer than the next by far more than float32 errs. Where it is not, the latent
is computed again in float64, one at a time, in a window of one shape on one thread, and decided in
float64. So a code is what float64 says, however its tile was batched.

How far float32 errs is measured, not proven: on a probe when a model first encodes, with a margin,
and again on every latent that is recomputed; should one exceed half the tolerance, the tolerance
grows and the tile is decided again.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vqtok.protocols import Quantizer, RecomputeStats

MARGIN = 6.0
"""Of the largest error that a latent may have to the largest that the probe shows."""

_lock = threading.RLock()

Probe = Callable[[nn.Module, torch.dtype], Tensor]
"""Encoder and dtype → (N, D) latents of a fixed signal in that dtype."""

Recompute = Callable[[nn.Module, Tensor], Tensor]
"""Float64 encoder and (B index, *grid indices) → (D,) float64, one latent."""


class ExactCodes:
    """Gives codes of latents as float64 would, with a float64 copy of the encoder.

    Args:
        encoder: The network; watched for changes of its weights.
        probe: Shows how far float32 errs.
    """

    def __init__(self, encoder: nn.Module, probe: Probe) -> None:
        self.stats = RecomputeStats()
        self._encoder, self._probe = encoder, probe
        self._made: tuple[_Weights, nn.Module, float] | None = None

    def __call__(self, z: Tensor, quantizer: Quantizer, recompute: Recompute) -> Tensor:
        """Give the codes of (B, D, *grid) float32 latents.

        Args:
            z: What float32 made of some signals.
            quantizer: Gives the codes.
            recompute: Makes one latent again, from the same signals.

        Returns:
            int64 (B, *grid), or (B, Q, *grid).
        """
        with full_float32(z.device):
            return self._decide(z, quantizer, recompute)

    def _decide(self, z: Tensor, quantizer: Quantizer, recompute: Recompute) -> Tensor:
        twin, tolerance = self._twin()
        while True:
            codes, near_tie = quantizer.assign(z, tolerance=tolerance)
            positions = near_tie.nonzero()
            if not len(positions):
                break
            with one_thread():
                latents = torch.stack([recompute(twin, each) for each in positions])  # (N, D)
            which = tuple(positions.T)
            last = codes if quantizer.depth is None else codes.movedim(1, -1)  # (B, *grid) or …, Q
            last[which] = quantizer.assign(latents[:, :, None], tolerance=0.0).codes[..., 0]
            error = torch.linalg.vector_norm(latents - z.movedim(1, -1)[which].double(), dim=1)
            worst = float(error.max())
            if not worst > tolerance / 2:
                break
            tolerance = MARGIN * worst
        with _lock:
            self.stats += RecomputeStats(near_tie.numel(), len(positions))
        return codes

    def _twin(self) -> tuple[nn.Module, float]:
        """Give the encoder in float64, and how far its float32 self may be from it."""
        with _lock, torch.no_grad():
            weights = _Weights.of(self._encoder)
            if self._made is None or not self._made[0].same(weights):
                twin = copy.deepcopy(self._encoder).double().requires_grad_(False)
                plain = self._probe(self._encoder, torch.float32).double()
                with one_thread():
                    exact = self._probe(twin, torch.float64)
                error = torch.linalg.vector_norm(plain - exact, dim=1).max()
                self._made = weights, twin, MARGIN * float(error)
            return self._made[1:]


class _Weights(NamedTuple):
    """Tells a network from itself before a change of its weights."""

    counted: tuple[tuple[int, int], ...]
    """Address of each tensor, and the changes that torch has counted."""
    learning: Tensor
    """(N,): values of tensors whose changes torch may not count, as with fused optimizers."""

    @staticmethod
    def of(network: nn.Module) -> _Weights:
        tensors = [*network.parameters(), *network.buffers()]
        counted = tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)
        learning = [t.float().flatten() for t in tensors if t.requires_grad or t.is_inference()]
        return _Weights(counted, torch.cat(learning) if learning else torch.empty(0))

    def same(self, other: _Weights) -> bool:
        return self.counted == other.counted and torch.equal(self.learning, other.learning)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on this thread alone: the order of sums is then fixed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Keep float32's 24 bits: no autocast, and on a GPU no shortcut of cuDNN's convolutions."""
    settings: Any = getattr(torch.backends.cudnn, "conv", None)
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda" or not hasattr(settings, "fp32_precision"):
            yield
            return
        before = settings.fp32_precision
        settings.fp32_precision = "ieee"
        try:
            yield
        finally:
            settings.fp32_precision = before
