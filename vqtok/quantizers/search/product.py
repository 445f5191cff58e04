"""The float32 matrix product under ``nearest``: precise whatever the user's settings, and fast.

On CPUs where MKL picks a slow kernel (AMD), setting
``torch.backends.mkldnn.matmul.fp32_precision = "bf16"`` routes float32 products to oneDNN, which
still computes in float32 there and is up to twice as fast. On a CPU with instructions for bf16 the
same setting really computes in bf16: it is never set there, not even to try, as it is the whole
process's and other threads are at work. Elsewhere a probe of the very shape decides, once per
shape. Where it fails, and on a GPU, products are asked for in plain float32, even where the user
allows less.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

ROUND_OFF = 2.0**-24
"""Largest relative error of one float32 operation."""

_memory = threading.local()
_setting = threading.Lock()


def slices(count: int, most: int) -> list[slice]:
    """Cuts rows into the fewest equal slices of at most ``most``; multiples of 64 if they fit."""
    size = -(-count // max(1, -(-count // most)))
    size = max(1, min(most, size + -size % 64))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def scratch(
    name: str, shape: tuple[int, int], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Memory of this thread, used again: fresh pages would cost as much as the product."""
    size, kept = math.prod(shape), getattr(_memory, name, None)
    if kept is None or kept.device != device or len(kept) < size:
        with torch.inference_mode(False):  # an inference tensor could not be written to elsewhere
            kept = torch.empty(size, dtype=dtype, device=device)
        setattr(_memory, name, kept)
    return kept[:size].view(shape)


def multiply(left: Tensor, right: Tensor, *, out: Tensor) -> None:
    """Multiplies float32 matrices into ``out``, with error at most ``bound`` per element."""
    device = left.device.type
    # Below 64 rows MKL is as fast, and a probe for every small shape would cost more than it saves.
    trusted = device == "cpu" and len(left) >= 64 and _trusted(*left.shape, right.shape[1])
    with _precision(device, "bf16" if trusted else "ieee"):
        torch.mm(left, right, out=out)


def bound(inner: int) -> float:
    """Error of a product of ``inner`` terms, relative to the sum of the terms' absolute values.

    n - 1 additions and one multiplication, in any order (Higham 2002, section 3.1), and 8 more for
    what callers round before and after.
    """
    return (inner + 8) * ROUND_OFF


@contextmanager
def _precision(device: str, value: str) -> Iterator[None]:
    """Set how float32 products of a device type are computed; the setting before comes back.

    The setting is the process's: products of several threads wait for each other.
    """
    with _setting:
        yield from _set_precision(device, value)


def _set_precision(device: str, value: str) -> Iterator[None]:
    backend = {"cpu": torch.backends.mkldnn, "cuda": torch.backends.cuda}.get(device)
    settings: Any = getattr(backend, "matmul", None)
    if hasattr(settings, "fp32_precision"):
        before = settings.fp32_precision
        settings.fp32_precision = value
        try:
            yield
        finally:
            settings.fp32_precision = before
    else:  # torch before 2.9: one setting for all devices, and no way to oneDNN
        general = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(general)


@lru_cache(maxsize=256)
def _trusted(rows: int, inner: int, columns: int) -> bool:
    """Checks whether oneDNN computes this shape in real float32 on this CPU."""
    if not torch._C._has_mkldnn or not hasattr(torch.backends.mkldnn, "matmul"):
        return False
    if _has_bf16():
        return False
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(rows, inner, generator=generator) + 0.5
    right = torch.rand(inner, columns, generator=generator) + 0.5
    with torch.no_grad(), _precision("cpu", "bf16"):
        found = left @ right
    # Inputs rounded to bf16 are off by 2e-3, so some of these sums would be off by 1e-4 or more.
    some = torch.linspace(0, columns - 1, min(columns, 64)).long()
    exact = left.double() @ right[:, some].double()
    error = (found[:, some] - exact).abs() / exact
    return bool(error.max() <= bound(inner))


def _has_bf16() -> bool:
    """Tell whether this CPU multiplies bf16 numbers itself; if torch cannot tell, yes."""
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: True)() for name in names)
