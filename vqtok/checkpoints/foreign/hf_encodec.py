"""EnCodec as the transformers library publishes it: ``config.json`` and weights by its names."""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign import _names
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import picked, require
from vqtok.tokenizers.published import encodec, encodec_chunked

ENCODEC = Family(
    "EnCodec 24 kHz", "Hugging Face directories with `model_type` encodec", "`transformers`"
)
CHUNKED = Family(
    "EnCodec 48 kHz",
    "Hugging Face directories with `model_type` encodec, in chunks",
    "`transformers`",
)
FAMILIES = (ENCODEC, CHUNKED)
BY_CONFIG = True

TRAINING = r"\.codebook\.(inited|cluster_size|embed_avg)$"


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    keys = dict(found.config)
    if keys.get("model_type") != "encodec":
        return None
    keys["num_quantizers"] = found.count("quantizer.layers.{}.codebook.embed")
    require(keys, path=found.path, family=ENCODEC.name, trim_right_ratio=1.0)
    weights = partial(_names.renamed, found.tensors, without=TRAINING)
    if keys.get("chunk_length_s") is not None:
        config = picked(keys, encodec_chunked.Config, path=found.path)
        return Match(CHUNKED.name, config, weights)
    require(
        keys,
        path=found.path,
        family=ENCODEC.name,
        audio_channels=1,
        normalize=False,
        norm_type="weight_norm",
        use_causal_conv=True,
    )
    return Match(ENCODEC.name, picked(keys, encodec.Config, path=found.path), weights)
