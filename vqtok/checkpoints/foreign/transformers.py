"""Codecs as the transformers library publishes them: ``config.json``, and weights by its names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod

from vqtok.checkpoints.foreign import _names
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import picked, require
from vqtok.config import dump
from vqtok.errors import CheckpointError
from vqtok.tokenizers.published import dac, encodec, encodec_chunked, mimi, xcodec

ENCODEC = Family(
    "EnCodec 24 kHz",
    "Hugging Face directories with `model_type` encodec",
    "`transformers`",
    "any length",
)
CHUNKED = Family(
    "EnCodec 48 kHz",
    "Hugging Face directories with `model_type` encodec, in chunks",
    "`transformers`",
    "a chunk at a time",
)
DAC = Family(
    "DAC", "Hugging Face directories with `model_type` dac", "`transformers`", "any length"
)
MIMI = Family(
    "Mimi", "Hugging Face directories with `model_type` mimi", "`transformers`", "any length"
)
XCODEC = Family(
    "X-codec",
    "Hugging Face directories with `model_type` xcodec, a HuBERT inside",
    "`transformers`",
    "any length",
)
FAMILIES = (ENCODEC, CHUNKED, DAC, MIMI, XCODEC)
BY_CONFIG = True

_TRAINING = r"\.codebook\.(inited|cluster_size|embed_avg)$"
_XCODEC_TRAINING = rf"^(decoder_semantic|fc1)\.|^semantic_model\.masked_spec_embed$|{_TRAINING}"
_MIMI_TRAINING = r"\.codebook\.initialized$"

_MIMI_RULES = (
    (r"^(en|de)coder\.(en|de)coder_seanet\.", r"\1coder."),
    (r"^(en|de)coder\.((en|de)coder_transformer|downsample|upsample)\.", r"\2."),
)
"""Late versions of the library keep each half of the model under one name."""


CONTINUOUS = frozenset(
    ("pocket_tts", "pocket_tts_audio_tokenizer", "vibevoice", "vibevoice_acoustic_tokenizer")
)
"""What the library also calls tokenizers of audio."""


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    name = str(found.config.get("model_type"))
    if name.removesuffix("_encoder").removesuffix("_decoder") in CONTINUOUS:
        reason = f"{name}: an autoencoder without codes: its latents are continuous"
        raise CheckpointError(found.path, reason)
    kinds = {"encodec": _encodec, "dac": _dac, "mimi": _mimi, "xcodec": _xcodec}
    kind = kinds.get(name)
    return None if kind is None else kind(found)


def _encodec(found: Found) -> Match:
    keys = dict(found.config)
    keys["num_quantizers"] = found.count("quantizer.layers.{}.codebook.embed")
    require(keys, path=found.path, family=ENCODEC.name, trim_right_ratio=1.0)
    weights = partial(_names.of_network, found.tensors, without=_TRAINING)
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


def _dac(found: Found) -> Match:
    keys = found.config
    config = picked(keys, dac.Config, path=found.path)
    ratios = list(config.downsampling_ratios)
    require(keys, path=found.path, family=DAC.name, upsampling_ratios=ratios[::-1])
    return Match(DAC.name, config, partial(_names.of_network, found.tensors))


def _mimi(found: Found) -> Match:
    keys = dict(found.config)
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
    weights = partial(_names.of_network, found.tensors, _MIMI_RULES, without=_MIMI_TRAINING)
    return Match(MIMI.name, config, weights)


def _xcodec(found: Found) -> Match:
    keys = dict(found.config)
    parts = {"acoustic": xcodec.Acoustic, "semantic": xcodec.Semantic}
    kinds = {"acoustic": "dac", "semantic": "hubert"}
    for name, make in parts.items():
        inner = keys.get(f"{name}_model_config")
        inner = dict(inner) if isinstance(inner, Mapping) else {}
        require(inner, path=found.path, family=XCODEC.name, model_type=kinds[name])
        keys[name] = dump(picked(inner, make, path=found.path))
    keys["num_quantizers"] = found.count("quantizer.quantizers.{}.codebook.embed")
    config = picked(keys, xcodec.Config, path=found.path)
    weights = partial(_names.of_network, found.tensors, without=_XCODEC_TRAINING)
    return Match(XCODEC.name, config, weights)
