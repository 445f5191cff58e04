"""Tokenizers of LlamaGen (Sun et al. 2024, 2406.06525): VQ-8 and VQ-16, averages before weights.

They compare directions: latents and entries have length 1 at lookup, in the file they have any.
"""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign import taming
from vqtok.checkpoints.foreign._layout import Family, Match, left_out
from vqtok.checkpoints.foreign._names import like_taming, ours
from vqtok.checkpoints.foreign._reading import Found

FAMILY = Family(
    "LlamaGen VQ-8, VQ-16",
    "`vq_ds8_c2i.pt`, `vq_ds16_c2i.pt` and checkpoints of its training",
    "an independent statement of the published network",
)
FAMILIES = (FAMILY,)

_RULES = (
    (r"^encoder\.conv_blocks\.", "encoder.down."),
    (r"^decoder\.conv_blocks\.", "decoder.up."),
    (r"\.res\.", ".block."),
    (r"\.mid\.0\.", ".mid.block_1."),
    (r"\.mid\.1\.", ".mid.attn_1."),
    (r"\.mid\.2\.", ".mid.block_2."),
)


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("encoder.conv_in.weight", "encoder.conv_blocks.0.res.0.conv1.weight",
                     "decoder.conv_blocks.0.res.0.conv1.weight", "encoder.mid.1.q.weight",
                     "quant_conv.weight", "quantize.embedding.weight"):  # fmt: skip
        return None
    levels = found.count("encoder.conv_blocks.{}.res.0.conv1.weight")
    like = like_taming(found, _RULES, levels=levels)
    config = taming.sizes(
        like,
        table=found.shape("quantize.embedding.weight"),
        lookup="cosine",
        blocks=like.count("encoder.down.0.block.{}.conv1.weight"),
    )
    return Match(
        FAMILY.name,
        config,
        partial(ours, like.tensors, taming.OURS),
        left_out=left_out(found.tensors, "quantize.codebook_used"),
    )
