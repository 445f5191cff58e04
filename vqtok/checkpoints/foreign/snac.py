"""SNAC as its author publishes it: ``config.json`` and ``pytorch_model.bin``."""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign import _names
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import picked
from vqtok.tokenizers.published import snac

SNAC = Family(
    "SNAC",
    "directories of the snac package",
    "`snac`",
    "any length; the decoder's noise is an input",
)
FAMILIES = (SNAC,)
BY_CONFIG = True


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not {"vq_strides", "encoder_rates", "decoder_rates"} <= set(found.config):
        return None
    config = picked(found.config, snac.Config, path=found.path)
    return Match(SNAC.name, config, partial(_names.of_network, found.tensors))
