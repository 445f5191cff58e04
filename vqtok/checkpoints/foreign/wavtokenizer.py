"""WavTokenizer: directories of the transformers library, and checkpoints of its authors' training.

Of a checkpoint there is no config that would be needed: sizes are those of the tensors, the rate
is that of all published models, 24 kHz.
"""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign import _names
from vqtok.checkpoints.foreign._layout import Family, Match, left_out
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import picked, require
from vqtok.checkpoints.foreign.encodec_th import RULES
from vqtok.errors import CheckpointError
from vqtok.tokenizers.published.wavtokenizer import Config

LIBRARY = Family(
    "WavTokenizer",
    "Hugging Face directories with `model_type` wavtokenizer",
    "`transformers`",
    "any length",
)
ORIGINAL = Family(
    "WavTokenizer `.ckpt`",
    "Lightning checkpoints of its authors",
    "`transformers`, its weights under the authors' names",
    "any length",
)
FAMILIES = (LIBRARY, ORIGINAL)

_TRAINING = r"\.codebook\.(inited|cluster_size|embed_avg)$"
_ENCODER = "feature_extractor.encodec.encoder."
_CODEBOOK = "feature_extractor.encodec.quantizer.vq.layers.0._codebook."
_RULES = (
    (r"^feature_extractor\.encodec\.", ""),
    *RULES,
    (r"^quantizer\.layers\.0\.", "quantizer."),
    (r"^head\.out\.", "head.linear."),
)


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if found.config.get("model_type") == "wavtokenizer":
        return _library(found)
    if found.has(f"{_ENCODER}model.0.conv.conv.weight_v", f"{_CODEBOOK}embed",
                 "backbone.pos_net.2.proj_out.weight", "head.out.weight"):  # fmt: skip
        return _original(found)
    return None


def _library(found: Found) -> Match:
    keys = found.config
    require(keys, path=found.path, family=LIBRARY.name, audio_channels=1)
    config = picked(keys, Config, path=found.path)
    require(keys, path=found.path, family=LIBRARY.name, codebook_dim=config.hidden_size)
    rules = ((r"^encoder_model\.", ""),)
    return Match(LIBRARY.name, config,
                 partial(_names.of_network, found.tensors, rules, without=_TRAINING))  # fmt: skip


def _original(found: Found) -> Match:
    if found.has(_CODEBOOK.replace(".0.", ".1.") + "embed"):
        raise CheckpointError(found.path, f"{ORIGINAL.name}: more than one codebook in it")
    parts = (_ENCODER, f"{_CODEBOOK}embed", "backbone.", "head.out.")
    kept = {
        name: tensor
        for name, tensor in found.tensors.items()
        if name.startswith(parts) and not name.endswith("embed_avg")
    }
    known = ("feature_extractor.", "backbone.", "head.")
    others = {f"{name.split('.')[0]}." for name in found.tensors if not name.startswith(known)}
    unused = ("feature_extractor.encodec.decoder.", *sorted(others))
    return Match(
        ORIGINAL.name,
        _sizes(found),
        partial(_names.of_network, kept, _RULES),
        left_out=left_out(found.tensors, *unused),
    )


def _sizes(found: Found) -> Config:
    """Returns what the shapes tell; dilations leave no trace, and are the published ones."""
    first = found.shape(f"{_ENCODER}model.0.conv.conv.weight_v")
    entries = found.shape(f"{_CODEBOOK}embed")
    stem = f"{_ENCODER}model."
    numbered = [name.removeprefix(stem) for name in found.tensors if name.startswith(stem)]
    layers = sorted({int(name.partition(".")[0]) for name in numbered})
    kernels = [found.shape(f"{_ENCODER}model.{i}.conv.conv.weight_v") for i in layers[1:-1]]
    inner = found.shape(f"{_ENCODER}model.1.block.1.conv.conv.weight_v")
    lstm = next(i for i in layers if found.has(f"{_ENCODER}model.{i}.lstm.weight_ih_l0"))
    residuals = 0
    while found.has(f"{_ENCODER}model.{residuals + 1}.block.1.conv.conv.weight_v"):
        residuals += 1
    return Config(
        num_filters=first[0],
        upsampling_ratios=tuple(shape[2] // 2 for shape in reversed(kernels) if shape),
        num_residual_layers=residuals,
        compress=inner[1] // inner[0],
        use_conv_shortcut=found.has(f"{_ENCODER}model.1.shortcut.conv.conv.weight_v"),
        kernel_size=first[2],
        last_kernel_size=found.shape(f"{_ENCODER}model.{layers[-1]}.conv.conv.weight_v")[2],
        residual_kernel_size=inner[2],
        num_lstm_layers=found.count(f"{_ENCODER}model.{lstm}.lstm.weight_ih_l{{}}"),
        hidden_size=entries[1],
        codebook_size=entries[0],
        decoder_hidden_size=found.shape("backbone.embed.weight")[0],
        decoder_intermediate_size=found.shape("backbone.convnext.0.pwconv1.weight")[0],
        decoder_num_layers=found.count("backbone.convnext.{}.gamma"),
        adanorm_num_embeddings=found.shape("backbone.norm.scale.weight")[0],
    )
