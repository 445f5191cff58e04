"""TiTok's tokenizers, as directories of the Hugging Face hub or as the weights alone.

All sizes are those of the tensors. What they do not tell, whether the lookup compares directions,
is in ``config.json``; without it the first models, which end in MaskGIT's codes, are taken to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from vqtok.checkpoints.foreign._layout import Family, Match, left_out
from vqtok.checkpoints.foreign._names import ours, translated
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import require
from vqtok.errors import CheckpointError
from vqtok.tokenizers.published.titok import Config

FAMILY = Family(
    "TiTok",
    "directories of the Hugging Face hub, or `tokenizer_titok_….bin`; pictures of 256x256",
    "an independent statement of the published network",
    "256x256",
)
FAMILIES = (FAMILY,)

_RULES = (
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.in_proj.\1"),
    (r"^decoder\.ffn\.0\.", "painter.enter."),
    (r"^decoder\.(ffn\.2|conv_out)\.", "painter.leave."),
    (r"^pixel_quantize\.", "painter."),
    (r"^pixel_decoder\.", "painter.decoder."),
)

_PARTS = ("latent_tokens", "encoder.", "decoder.", "quantize.embedding.",
          "pixel_quantize.embedding.", "pixel_decoder.")  # fmt: skip


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("latent_tokens", "encoder.patch_embed.weight", "encoder.positional_embedding",
                     "encoder.latent_token_positional_embedding", "decoder.mask_token",
                     "encoder.transformer.0.attn.in_proj_weight",
                     "decoder.positional_embedding", "decoder.ffn.0.weight"):  # fmt: skip
        return None
    _refuse_others(found)
    mixes = found.has("decoder.ffn.2.weight")
    keys = _keys(found)
    lookup, notes = _lookup(keys, mixes=mixes)
    size, dim = found.shape("quantize.embedding.weight")
    tokens, width = found.shape("latent_tokens")
    patch = found.shape("encoder.patch_embed.weight")[-1]
    side = _grid(found, "encoder") * patch
    require(keys, path=found.path, family=FAMILY.name,
            is_legacy=mixes, num_latent_tokens=tokens, vit_enc_patch_size=patch)  # fmt: skip
    config = Config(
        tokens=tokens,
        codebook_size=size,
        dim=dim,
        lookup=lookup,  # type: ignore[arg-type]
        side=side,
        patch=patch,
        width=width,
        layers=found.count("encoder.transformer.{}.ln_1.weight"),
        decoder_patch=side // _grid(found, "decoder"),
        decoder_width=found.shape("decoder.positional_embedding")[-1],
        decoder_layers=found.count("decoder.transformer.{}.ln_1.weight"),
        channels=found.shape("encoder.patch_embed.weight")[1],
        **(_pixel_sizes(found) if mixes else {"pixel_widths": ()}),
    )
    return Match(
        FAMILY.name,
        config,
        partial(_weights, found.tensors),
        left_out=left_out(found.tensors, "quantize.embed_prob", "pixel_encoder."),
        notes=notes,
    )


def _refuse_others(found: Found) -> None:
    """Say of its relatives why they cannot be used."""
    reason = ""
    if found.has("decoder.text_guidance_proj.weight"):
        reason = "a TA-TiTok: it decodes with the help of a text, which codes do not hold"
    elif not found.has("quantize.embedding.weight"):
        reason = "a TiTok with continuous latents: it has no codes"
    elif found.has("decoder.ffn.2.weight") and not found.has("pixel_decoder.conv_in.weight"):
        reason = (
            "the first stage of a TiTok: MaskGIT's decoder, which paints its pictures, is not in it"
        )
    if reason:
        raise CheckpointError(
            found.path,
            reason,
            hint="of this family titok_l32, titok_b64, titok_s128 and titok_…_vq8k can be read",
        )


def _keys(found: Found) -> Mapping[str, Any]:
    """Returns what ``config.json`` says of the network; empty without one."""
    model = found.config.get("model")
    keys = model.get("vq_model") if isinstance(model, Mapping) else None
    return keys if isinstance(keys, Mapping) else {}


def _lookup(keys: Mapping[str, Any], *, mixes: bool) -> tuple[str, tuple[str, ...]]:
    """States how entries are found, and what is only guessed of it."""
    by_direction = keys.get("use_l2_norm")
    if isinstance(by_direction, bool):
        return ("cosine" if by_direction else "nearest"), ()
    named = "direction" if mixes else "distance"
    note = f"no config.json tells how it compares: by {named}, as the published models of its kind"
    return ("cosine" if mixes else "nearest"), (note,)


def _grid(found: Found, part: str) -> int:
    """Patches per side."""
    count = found.shape(f"{part}.positional_embedding")[0] - 1
    side = math.isqrt(max(count, 0))
    if side < 1 or side * side != count:
        raise ValueError(f"{count} places of patches are no square")
    return side


def _pixel_sizes(found: Found) -> dict[str, Any]:
    size, dim = found.shape("pixel_quantize.embedding.weight")
    return {
        "pixel_widths": found.widths("pixel_decoder.up.{}.block.0.conv1.weight"),
        "pixel_blocks": found.count("pixel_decoder.up.0.block.{}.conv1.weight"),
        "pixel_dim": dim,
        "pixel_codebook_size": size,
    }


def _weights(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {translated(name, _RULES): each for name, each in ours(found, _PARTS).items()}
