"""The tokenizer of VAR: ``vae_ch160v4096z32.pth``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from vqtok.checkpoints.foreign._layout import Family, Match, left_out
from vqtok.checkpoints.foreign._names import ours
from vqtok.checkpoints.foreign._reading import Found
from vqtok.tokenizers.published.var import SCALES, Config

FAMILY = Family(
    "VAR",
    "`vae_ch160v4096z32.pth`: ten scales, pictures of 256x256",
    "an independent statement of the published network",
    "256x256",
)
FAMILIES = (FAMILY,)

_SHARED = "quantize.quant_resi.qresi_ls."


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("encoder.conv_in.weight", "encoder.down.0.block.0.conv1.weight",
                     "encoder.mid.attn_1.qkv.weight", "quantize.embedding.weight",
                     "quant_conv.weight", f"{_SHARED}0.weight"):  # fmt: skip
        return None
    size, dim = found.shape("quantize.embedding.weight")
    hits = found.shape("quantize.ema_vocab_hit_SV")
    notes = ["the file does not tell its scales: " + ", ".join(map(str, SCALES)) + " are assumed"]
    if hits and hits[0] != len(SCALES):
        notes.append(f"its count of scales, {hits[0]}, is another: codes may be meaningless")
    config = Config(
        widths=found.widths("encoder.down.{}.block.0.conv1.weight"),
        stem=found.shape("encoder.conv_in.weight")[0],
        blocks=found.count("encoder.down.0.block.{}.conv1.weight"),
        dim=dim,
        codebook_size=size,
        scales=SCALES,
        convolutions=found.count(_SHARED + "{}.weight"),
        kernel=found.shape("quant_conv.weight")[-1],
        channels=found.shape("encoder.conv_in.weight")[1],
    )
    return Match(
        FAMILY.name,
        config,
        partial(_weights, found.tensors),
        left_out=left_out(found.tensors, "quantize.ema_vocab_hit_SV"),
        notes=tuple(notes),
    )


def _weights(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.embedding.")
    out: dict[str, Tensor] = {}
    for name, tensor in ours(found, (*parts, _SHARED)).items():
        fused = re.match(r"(.*\.)qkv\.(weight|bias)$", name)
        if fused:
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                out[f"{fused[1]}{part}.{fused[2]}"] = third
        else:
            out[name.replace(_SHARED, "shared.")] = tensor
    return out
