"""MaskGIT's VQGAN as the weights of open-muse and 1d-tokenizer: ``maskgit-vqgan-….bin``."""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._names import ours
from vqtok.checkpoints.foreign._reading import Found
from vqtok.tokenizers.published.maskgit import Config

FAMILY = Family(
    "MaskGIT VQGAN",
    "`maskgit-vqgan-imagenet-f16-256.bin`",
    "an independent statement of the published network",
)
FAMILIES = (FAMILY,)


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("encoder.conv_in.weight", "encoder.down.0.block.0.conv1.weight",
                     "encoder.mid.0.conv1.weight", "decoder.up.0.block.0.conv1.weight",
                     "quantize.embedding.weight"):  # fmt: skip
        return None
    size, dim = found.shape("quantize.embedding.weight")
    config = Config(
        widths=found.widths("encoder.down.{}.block.0.conv1.weight"),
        blocks=found.count("encoder.down.0.block.{}.conv1.weight"),
        dim=dim,
        codebook_size=size,
        channels=found.shape("encoder.conv_in.weight")[1],
    )
    kept = partial(ours, found.tensors, ("encoder.", "decoder.", "quantize.embedding."))
    return Match(FAMILY.name, config, kept)
