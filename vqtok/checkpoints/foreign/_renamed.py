"""Networks that are VQGAN's under other names: each name → taming's, then all else is the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from vqtok.checkpoints.foreign._reading import Found

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Regular expressions and what they become, applied one after the other."""


def renamed(found: Found, rules: Rules, *, levels: int = 0) -> Found:
    """Returns the checkpoint with taming's names.

    Args:
        found: The checkpoint.
        rules: Tried in order on every name.
        levels: Decoder levels that are counted from the coarsest become those from the finest; 0:
            they are already.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in found.tensors.items():
        for pattern, text in rules:
            name = re.sub(pattern, text, name)
        if levels:
            name = re.sub(
                r"^decoder\.up\.(\d+)\.",
                lambda match: f"decoder.up.{levels - 1 - int(match[1])}.",
                name,
            )
        tensors[name] = _projection(name, tensor)
    return replace(found, tensors=tensors)


def _projection(name: str, tensor: Tensor) -> Tensor:
    """Linear maps of attention as the 1x1 convolutions that they are."""
    is_projection = re.search(r"\.attn(_1|\.\d+)\.(q|k|v|proj_out)\.weight$", name)
    return tensor[:, :, None, None] if is_projection and tensor.ndim == 2 else tensor


def ours(found: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """Returns the tensors of some parts of a network."""
    return {name: tensor for name, tensor in found.items() if name.startswith(tuple(prefixes))}


def averaged(found: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """Returns ``ours``, with moving averages in place of the weights where the file has them.

    Latent diffusion's class for that calls the average of "a.b.weight" "model_ema.abweight".
    """
    out = {}
    for name, tensor in ours(found, prefixes).items():
        out[name] = found.get("model_ema." + name.replace(".", ""), tensor)
    return out
