"""VQ-VAE-2 of rosinality/vq-vae-2-pytorch: the weights alone, often with a wrapper's prefix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.tokenizers.published.rosinality import Config

FAMILY = Family(
    "VQ-VAE-2 (rosinality)",
    "`vqvae_560.pt` and other checkpoints of its training",
    "an independent statement of the published network",
)
FAMILIES = (FAMILY,)

_LEARNING = re.compile(r"^quantize_[tb]\.(cluster_size|embed_avg)$")


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("enc_b.blocks.0.weight", "enc_t.blocks.0.weight", "quantize_t.embed",
                     "quantize_b.embed", "upsample_t.weight", "dec.blocks.0.weight"):  # fmt: skip
        return None
    dim, size = found.shape("quantize_t.embed")
    # Each layer of the chain counts: two strided ones, a wide one, and activations between them.
    first = 5
    config = Config(
        width=found.shape("enc_b.blocks.4.weight")[0],
        blocks=sum(found.has(f"enc_b.blocks.{i}.conv.1.weight") for i in range(first, 1000)),
        hidden=(found.shape(f"enc_b.blocks.{first}.conv.1.weight") or (1,))[0],
        dim=dim,
        codebook_size=size,
        channels=found.shape("enc_b.blocks.0.weight")[1],
    )
    count = sum(bool(_LEARNING.match(name)) for name in found.tensors)
    unused = f"moving averages of the codebooks: {count} tensors that only training needs"
    return Match(
        FAMILY.name,
        config,
        partial(_weights, found.tensors),
        left_out=(unused,) if count else (),
    )


def _weights(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out = {}
    for name, tensor in found.items():
        if re.match(r"^quantize_[tb]\.embed$", name):
            out[f"{name}ding.weight"] = tensor.T  # they keep entries as columns
        elif not _LEARNING.match(name):
            out[name] = tensor
    return out
