"""The float32 matrix product under ``nearest``: the faster of torch's two CPU back ends.

On CPUs where MKL picks a slow kernel (AMD), setting
``torch.backends.mkldnn.matmul.fp32_precision = "bf16"`` routes float32 products to oneDNN, which
still computes in float32 there and is up to twice as fast. On a CPU with AMX the same setting
really computes in bf16. A probe of the very shape tells the two apart, once per shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

ROUND_OFF = 2.0**-24
"""Largest relative error of one float32 operation."""

_matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
"""torch's settings of oneDNN's matrix products; None in versions that have none (before 2.9)."""


def multiply(left: Tensor, right: Tensor, *, out: Tensor) -> None:
    """``out = left @ right`` of float32 matrices, with error at most ``bound`` per element."""
    if left.device.type == "cpu" and len(left) >= 64 and _trusted(*left.shape, right.shape[1]):
        with _onednn():
            torch.mm(left, right, out=out)
    else:
        torch.mm(left, right, out=out)


def bound(inner: int) -> float:
    """Error of a product of ``inner`` terms, relative to the sum of the terms' absolute values.

    n - 1 additions and one multiplication, in any order (Higham 2002, section 3.1), and 8 more for
    what callers round before and after.
    """
    return (inner + 8) * ROUND_OFF


@contextmanager
def _onednn() -> Iterator[None]:
    before = _matmul.fp32_precision
    _matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        _matmul.fp32_precision = before


@lru_cache(maxsize=256)
def _trusted(rows: int, inner: int, columns: int) -> bool:
    """Whether oneDNN computes this shape in real float32 on this CPU."""
    if _matmul is None or not torch._C._has_mkldnn:
        return False
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(rows, inner, generator=generator) + 0.5
    right = torch.rand(inner, columns, generator=generator) + 0.5
    with torch.no_grad(), _onednn():
        found = left @ right
    # Inputs rounded to bf16 are off by 2e-3, so some of these sums would be off by 1e-4 or more.
    some = torch.linspace(0, columns - 1, min(columns, 64)).long()
    exact = left.double() @ right[:, some].double()
    error = (found[:, some] - exact).abs() / exact
    return bool(error.max() <= bound(inner))
