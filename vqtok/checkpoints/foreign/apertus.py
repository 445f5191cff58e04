"""The vision tokenizer of Emu3.5 as transformers has it for Apertus 1.5: IBQ, encoder alone.

With its decoder, ``config.yaml`` and ``model.ckpt``, it is an IBQ of ``taming``.
"""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign import taming
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._names import like_taming, ours
from vqtok.checkpoints.foreign._reading import Found

FAMILY = Family(
    "Emu3.5 IBQ of Apertus",
    "Hugging Face directories with `model_type` apertus1p5_vision_tokenizer, or the one inside "
    "Apertus 1.5, which encodes only; `model.ckpt` of Emu3.5 is an IBQ",
    "`transformers`",
    "none: it has no decoder",
)
FAMILIES = (FAMILY,)

_RULES = (
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.resnet\.", r"encoder.down.\1.block.\2."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.attention\.", r"encoder.down.\1.attn.\2."),
    (r"^encoder\.stages\.(\d+)\.downsample\.", r"encoder.down.\1.downsample."),
)


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("encoder.conv_in.weight", "encoder.stages.0.layers.0.resnet.conv1.weight",
                     "quant_conv.weight", "quantize.embedding.weight"):  # fmt: skip
        return None
    like = like_taming(found, _RULES)
    config = taming.sizes(
        like,
        table=found.shape("quantize.embedding.weight"),
        lookup="dot",
        blocks=like.count("encoder.down.0.block.{}.conv1.weight"),
    )
    return Match(FAMILY.name, config, partial(ours, like.tensors, taming.ENCODING))
