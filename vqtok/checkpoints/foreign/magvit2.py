"""Open-MAGVIT2 of SEED-Voken: Lightning checkpoints, averaged weights where there are any."""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign._layout import Family, Match, left_out
from vqtok.checkpoints.foreign._names import averaged
from vqtok.checkpoints.foreign._reading import Found
from vqtok.tokenizers.published.magvit2 import Config

FAMILY = Family(
    "Open-MAGVIT2",
    "SEED-Voken's image tokenizers: `.ckpt`; averaged weights where there are any",
    "an independent statement of the published network",
)
FAMILIES = (FAMILY,)


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("encoder.conv_in.weight", "encoder.down.0.block.0.conv1.weight",
                     "encoder.mid_block.0.conv1.weight", "encoder.conv_out.weight",
                     "decoder.adaptive.0.gamma.weight"):  # fmt: skip
        return None
    if len(found.shape("encoder.conv_in.weight")) != 4:  # video
        return None
    config = Config(
        widths=found.widths("encoder.down.{}.block.0.conv1.weight"),
        stem=found.shape("encoder.conv_in.weight")[0],
        blocks=found.count("encoder.down.0.block.{}.conv1.weight"),
        bits=found.shape("encoder.conv_out.weight")[0],
        channels=found.shape("encoder.conv_in.weight")[1],
    )
    return Match(
        FAMILY.name,
        config,
        partial(averaged, found.tensors, ("encoder.", "decoder.")),
        left_out=left_out(found.tensors, "loss.", "model_ema."),
    )
