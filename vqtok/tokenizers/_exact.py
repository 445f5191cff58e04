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
from typing import Any

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
        self._made: tuple[object, nn.Module, float] | None = None

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
        key = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in self._weights())
        with _lock, torch.no_grad():
            if self._made is None or self._made[0] != key:
                twin = copy.deepcopy(self._encoder).double().requires_grad_(False)
                plain = self._probe(self._encoder, torch.float32).double()
                with one_thread():
                    exact = self._probe(twin, torch.float64)
                error = torch.linalg.vector_norm(plain - exact, dim=1).max()
                self._made = key, twin, MARGIN * float(error)
            return self._made[1:]

    def _weights(self) -> list[Tensor]:
        return [*self._encoder.parameters(), *self._encoder.buffers()]


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
