"""Tensors of published audio codecs under our names: norms of weights folded, names translated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_PAIRS = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)
"""How torch calls the length and the direction of a normalised weight: once, and now."""

Rule = tuple[str, str]
"""A pattern of ``re`` and what replaces it."""


def folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Normalised weights as the plain ones that torch computes of them whenever they are used."""
    out = dict(tensors)
    for length, direction in _PAIRS:
        for name in [name for name in out if name.endswith(length)]:
            stem = name.removesuffix(length)
            if stem + direction in out:
                g, v = out.pop(name).float(), out.pop(stem + direction).float()
                out[f"{stem}.weight"] = torch._weight_norm(v, g, 0)
    return out


def renamed(
    tensors: Mapping[str, Tensor], rules: Sequence[Rule] = (), *, without: str = ""
) -> dict[str, Tensor]:
    """Returns the weights of ``network``.

    Args:
        tensors: As published.
        rules: Applied in order to each name.
        without: A pattern of names that are left out.
    """
    out = {}
    for name, tensor in folded(tensors).items():
        if without and re.search(without, name):
            continue
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        out[f"network.{name}"] = tensor
    return out
