"""Codes that hang on the last bits of a latent, settled in float64.

Kernels round differently for other shapes, numbers of threads and machines. Most codes do not care:
the nearest entry is nearer than the next by far more than float32 errs. Where it is not, the latent
is computed again in float64, one at a time, in a window of one shape on one thread, and decided in
float64. So a code is what float64 says, however its tile was batched.

How far float32 errs is measured, not proven: on a probe when a model first encodes, with a margin,
and again on every latent that is recomputed; should one exceed half the bound, the bound grows and
the tile is judged again.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vqtok.protocols import Quantizer

MARGIN = 6.0
"""Of the largest error that a latent may have to the largest that the probe shows."""

_lock = threading.RLock()

Probe = Callable[[nn.Module, torch.dtype], Tensor]
Recompute = Callable[[nn.Module, Tensor], Tensor]


@dataclass
class Doubts:
    """How often float64 was asked.

    Attributes:
        latents: That were coded.
        recomputed: Those of them that were computed again in float64.
    """

    latents: int = 0
    recomputed: int = 0


class Exact:
    """The float64 side of an encoder.

    Args:
        encoder: The network; watched for changes of its weights.
        probe: (encoder, dtype) → (N, D) latents of a fixed signal in that dtype.
    """

    def __init__(self, encoder: nn.Module, probe: Probe) -> None:
        self.doubts = Doubts()
        self._encoder, self._probe = encoder, probe
        self._made: tuple[_Weights, nn.Module, float] | None = None

    def settle(self, z: Tensor, quantizer: Quantizer, recompute: Recompute) -> Tensor:
        """Codes of (B, D, *grid) float32 latents.

        Args:
            z: What float32 made of some signals.
            quantizer: Gives the codes.
            recompute: (float64 encoder, (B index, *grid indices)) → (D,) float64: one latent, from
                the same signals.

        Returns:
            int64 (B, *grid), or (B, Q, *grid).
        """
        twin, reach = self._twin()
        while True:
            codes, doubtful = quantizer.assign(z, reach=reach)
            places = doubtful.nonzero()
            if not len(places):
                break
            with one_thread():
                latents = torch.stack([recompute(twin, place) for place in places])  # (N, D)
            which = tuple(places.T)
            last = codes if quantizer.depth is None else codes.movedim(1, -1)  # (B, *grid) or …, Q
            last[which] = quantizer.assign(latents[:, :, None], reach=0.0).codes[..., 0]
            error = torch.linalg.vector_norm(latents - z.movedim(1, -1)[which].double(), dim=1)
            worst = float(error.max())
            if not worst > reach / 2:
                break
            reach = MARGIN * worst
        with _lock:
            self.doubts.latents += doubtful.numel()
            self.doubts.recomputed += len(places)
        return codes

    def _twin(self) -> tuple[nn.Module, float]:
        """The encoder in float64, and how far its float32 self may be from it."""
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
    """What tells a network from itself before a change of its weights."""

    counted: tuple[tuple[int, int], ...]
    """Where each tensor lies, and how often torch has seen it change."""
    learning: Tensor
    """(N,): the values of those whose changes torch may not count: fused optimizers' are not."""

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
    """Let torch compute on this thread alone: what is added up in which order is then fixed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def plain_float32(device: torch.device) -> Iterator[None]:
    """Let convolutions on a GPU keep float32's 24 bits, which cuDNN by default does not."""
    settings: Any = getattr(torch.backends.cudnn, "conv", None)
    if device.type != "cuda" or not hasattr(settings, "fp32_precision"):
        yield
        return
    before = settings.fp32_precision
    settings.fp32_precision = "ieee"
    try:
        yield
    finally:
        settings.fp32_precision = before
