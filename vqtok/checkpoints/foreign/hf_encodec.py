"""EnCodec as the transformers library publishes it: ``config.json`` and weights by its names."""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign import _names
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import picked, require
from vqtok.tokenizers import encodec

ENCODEC = Family(
    "EnCodec 24 kHz", "Hugging Face directories with `model_type` encodec", "`transformers`"
)
FAMILIES = (ENCODEC,)

TRAINING = r"\.codebook\.(inited|cluster_size|embed_avg)$"


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    keys = found.config
    if keys.get("model_type") != "encodec":
        return None
    require(
        keys,
        path=found.path,
        family=ENCODEC.name,
        audio_channels=1,
        normalize=False,
        chunk_length_s=None,
        norm_type="weight_norm",
        use_causal_conv=True,
        trim_right_ratio=1.0,
    )
    config = picked(
        {**keys, "num_quantizers": found.count("quantizer.layers.{}.codebook.embed")},
        encodec.Config,
        path=found.path,
    )
    return Match(ENCODEC.name, config, partial(_names.renamed, found.tensors, without=TRAINING))
