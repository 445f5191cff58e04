"""DAC as the transformers library publishes it: ``config.json`` and weights by its names."""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign import _names
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import picked, require
from vqtok.tokenizers.published import dac

DAC = Family("DAC", "Hugging Face directories with `model_type` dac", "`transformers`")
FAMILIES = (DAC,)
BY_CONFIG = True


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    keys = found.config
    if keys.get("model_type") != "dac":
        return None
    config = picked(keys, dac.Config, path=found.path)
    ratios = list(config.downsampling_ratios)
    require(keys, path=found.path, family=DAC.name, upsampling_ratios=ratios[::-1])
    return Match(DAC.name, config, partial(_names.renamed, found.tensors))
