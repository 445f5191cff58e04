"""DALL-E's discrete VAE: ``encoder.pkl`` and ``decoder.pkl``, two pickled modules.

Whoever unpickles them runs what is in them; here only their tensors are taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.tokenizers.published.dalle import Config

FAMILY = Family("DALL-E dVAE", "a directory with `encoder.pkl` and `decoder.pkl`", "`dall_e`")
FAMILIES = (FAMILY,)


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("encoder.blocks.input.w", "encoder.blocks.output.conv.w",
                     "encoder.blocks.group_4.block_1.res_path.conv_1.w",
                     "decoder.blocks.input.w", "decoder.blocks.input.b",
                     "decoder.blocks.output.conv.w"):  # fmt: skip
        return None
    hidden, channels = found.shape("encoder.blocks.input.w")[:2]
    blocks = 1
    while found.has(f"encoder.blocks.group_1.block_{blocks + 1}.res_path.conv_1.w"):
        blocks += 1
    dim, size = found.shape("decoder.blocks.input.w")[:2]
    config = Config(hidden=hidden, blocks=blocks, dim=dim, codebook_size=size, channels=channels)
    return Match(FAMILY.name, config, partial(_weights, found.tensors))


def _weights(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, tensor in found.items():
        plain = re.sub(r"\.w$", ".weight", re.sub(r"\.b$", ".bias", name)).replace(".blocks.", ".")
        plain = plain.replace("encoder.output.conv.", "quantize.proj.")
        plain = plain.replace("decoder.output.conv.", "decoder.output.")
        if not plain.startswith("decoder.input."):
            out[plain] = tensor
    table = found["decoder.blocks.input.w"].flatten(1) + found["decoder.blocks.input.b"][:, None]
    out["quantize.embed.weight"] = table.T
    return out
