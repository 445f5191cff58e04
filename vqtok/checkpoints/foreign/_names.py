"""Published tensors under our names: translated, norms folded, averages before weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vqtok.checkpoints.foreign._reading import Found

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Regular expressions and what they become, applied one after the other."""

_PAIRS = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)
"""How torch calls the length and the direction of a normalised weight: once, and now."""


def translated(name: str, rules: Rules) -> str:
    """Apply rules in order to a name."""
    for pattern, text in rules:
        name = re.sub(pattern, text, name)
    return name


def folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Normalised weights as the plain ones that torch computes of them whenever they are used."""
    out = dict(tensors)
    for length, direction in _PAIRS:
        for name in [name for name in out if name.endswith(length)]:
            stem = name.removesuffix(length)
            if stem + direction in out:
                g, v = out.pop(name).float(), out.pop(stem + direction).float()
                out[f"{stem}.weight"] = torch._weight_norm(v, g, _axis(g))
    return out


def _axis(length: Tensor) -> int:
    """Returns the axis of a weight whose slices were normalised, each by itself."""
    return next((axis for axis, size in enumerate(length.shape) if size > 1), 0)


def of_network(
    tensors: Mapping[str, Tensor], rules: Rules = (), *, without: str = ""
) -> dict[str, Tensor]:
    """Return the weights of ``network`` of an audio codec, norms folded.

    Args:
        tensors: As published.
        rules: For each name.
        without: A pattern of names that are left out.
    """
    return {
        f"network.{translated(name, rules)}": tensor
        for name, tensor in folded(tensors).items()
        if not (without and re.search(without, name))
    }


def like_taming(found: Found, rules: Rules, *, levels: int = 0) -> Found:
    """Return a checkpoint whose network is VQGAN's, with taming's names.

    Args:
        found: The checkpoint.
        rules: For each name.
        levels: Decoder levels that are counted from the coarsest become those from the finest; 0:
            they are already.
    """
    if levels:
        rules = (*rules, (r"^decoder\.up\.(\d+)\.",
                          lambda match: f"decoder.up.{levels - 1 - int(match[1])}."))  # fmt: skip
    names = {name: translated(name, rules) for name in found.tensors}
    tensors = {names[old]: _projection(names[old], each) for old, each in found.tensors.items()}
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
