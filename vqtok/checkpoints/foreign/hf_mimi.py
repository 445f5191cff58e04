"""Mimi as the transformers library publishes it: ``config.json`` and weights by its names."""

from __future__ import annotations

from functools import partial
from math import prod

from vqtok.checkpoints.foreign import _names
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import picked, require
from vqtok.tokenizers.published import mimi

MIMI = Family("Mimi", "Hugging Face directories with `model_type` mimi", "`transformers`")
FAMILIES = (MIMI,)
BY_CONFIG = True

_RULES = (
    (r"^(en|de)coder\.(en|de)coder_seanet\.", r"\1coder."),
    (r"^(en|de)coder\.((en|de)coder_transformer|downsample|upsample)\.", r"\2."),
)
"""Late versions of the library keep each half of the model under one name."""


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    keys = dict(found.config)
    if keys.get("model_type") != "mimi":
        return None
    require(keys, path=found.path, family=MIMI.name, audio_channels=1, use_causal_conv=True,
            trim_right_ratio=1.0)  # fmt: skip
    ratios = keys.get("upsampling_ratios") or mimi.Config.upsampling_ratios
    rate = keys.get("frame_rate") or keys.get("_frame_rate")
    # Where it is not said, the convolution before the codes halves the rate.
    keys["frame_rate"] = rate or keys.get("sampling_rate", 24000) / (2 * prod(ratios))
    rope = keys.get("rope_parameters") or keys.get("rope_scaling") or {}
    require(rope, path=found.path, family=MIMI.name, rope_type="default")
    keys.setdefault("rope_theta", rope.get("rope_theta", mimi.Config.rope_theta))
    config = picked(keys, mimi.Config, path=found.path)
    weights = partial(_names.renamed, found.tensors, _RULES, without=r"\.codebook\.initialized$")
    return Match(MIMI.name, config, weights)
