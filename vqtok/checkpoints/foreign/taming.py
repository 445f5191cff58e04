"""VQGANs of taming-transformers and latent diffusion, of Janus and Chameleon: plain, Gumbel, IBQ.

Lightning checkpoints under ``state_dict``, or the weights alone. Sizes are those of the tensors;
``config.yaml`` tells nothing that they do not.
"""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign._layout import Family, Match, left_out
from vqtok.checkpoints.foreign._names import averaged, like_taming, ours
from vqtok.checkpoints.foreign._reading import Found
from vqtok.tokenizers.published.vqgan import Config

PLAIN = Family(
    "VQGAN",
    "taming-transformers and latent diffusion: `.ckpt`, or a directory with one",
    "modules of taming-transformers",
)
GUMBEL = Family("Gumbel VQGAN", "taming-transformers: `.ckpt`", "modules of taming-transformers")
IBQ = Family(
    "IBQ",
    "SEED-Voken: `.ckpt`; averaged weights where there are any",
    "the published lookup, over modules of taming-transformers",
)
JANUS = Family(
    "Janus",
    "`vqmodel` inside Hugging Face checkpoints of Janus",
    "`transformers`",
)
CHAMELEON = Family(
    "Chameleon",
    "`vqmodel` inside Hugging Face checkpoints of Chameleon, which encodes only; "
    "its `vqgan.ckpt` is a VQGAN",
    "`transformers`",
    "none: it has no decoder",
)
FAMILIES = (PLAIN, GUMBEL, IBQ, JANUS, CHAMELEON)

ENCODING = ("encoder.", "quant_conv.", "quantize.embedding.")
OURS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.embedding.",
        "quantize.proj.", "quantize.embed.")  # fmt: skip

_IBQ_BLOCKS = 4


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("encoder.conv_in.weight", "encoder.down.0.block.0.conv1.weight",
                     "encoder.mid.block_1.conv1.weight", "quant_conv.weight"):  # fmt: skip
        return None
    if found.shape("quant_conv.weight")[2:] != (1, 1):
        return None
    if not any(name.startswith("decoder.") for name in found.tensors):
        return _encoder(found)
    if not found.has("decoder.up.0.block.0.conv1.weight", "post_quant_conv.weight"):
        return None
    if found.has("decoder.up.0.upsample.conv.weight"):
        return _janus(found)
    blocks = found.count("encoder.down.0.block.{}.conv1.weight")
    table = found.shape("quantize.embedding.weight")
    if found.has("quantize.proj.weight", "quantize.embed.weight"):
        table, family, lookup = found.shape("quantize.embed.weight"), GUMBEL, "scores"
    elif len(table) != 2:
        return None
    # The lookup leaves no trace in the weights; of the two, only IBQ has so many blocks.
    elif blocks == _IBQ_BLOCKS:
        family, lookup = IBQ, "dot"
    else:
        family, lookup = PLAIN, "nearest"
    config = sizes(found, table=table, lookup=lookup, blocks=blocks)
    notes = []
    if lookup == "dot":
        notes.append(f"{_IBQ_BLOCKS} blocks per level: codes by the largest product, as in IBQ")
    if "quantize.used" in found.tensors:
        notes.append("codes are entries of the codebook: its remapping for a transformer is unused")
    return Match(
        family.name,
        config,
        partial(averaged, found.tensors, OURS),
        left_out=left_out(found.tensors, "loss.", "model_ema.", "temperature_scheduler."),
        notes=tuple(notes),
    )


def _janus(found: Found) -> Match | None:
    """Reads what counts the levels of its decoder from the coarsest, as Janus' class does."""
    table = found.shape("quantize.embedding.weight")
    if len(table) != 2:
        return None
    blocks = found.count("encoder.down.0.block.{}.conv1.weight")
    like = like_taming(found, (), levels=found.count("decoder.up.{}.block.0.conv1.weight"))
    note = (
        "codes are those of transformers' class: the nearest entries, decoded with length 1; "
        "the authors' program compares directions"
    )
    return Match(
        JANUS.name,
        sizes(like, table=table, lookup="unit", blocks=blocks),
        partial(ours, like.tensors, OURS),
        notes=(note,),
    )


def _encoder(found: Found) -> Match | None:
    """Reads an encoder and its codebook alone."""
    table = found.shape("quantize.embedding.weight")
    if len(table) != 2:
        return None
    blocks = found.count("encoder.down.0.block.{}.conv1.weight")
    config = sizes(found, table=table, lookup="nearest", blocks=blocks)
    return Match(CHAMELEON.name, config, partial(ours, found.tensors, ENCODING))


def sizes(found: Found, *, table: tuple[int, ...], lookup: str, blocks: int) -> Config:
    """Returns what the shapes of a network with taming's names tell of it."""
    widths = found.widths("encoder.down.{}.block.0.conv1.weight")
    return Config(
        widths=widths,
        stem=found.shape("encoder.conv_in.weight")[0],
        blocks=blocks,
        decoder_blocks=found.count("decoder.up.0.block.{}.conv1.weight"),
        attention=attention(found, "encoder.down", len(widths)),
        decoder_attention=attention(found, "decoder.up", len(widths)),
        latent=found.shape("encoder.conv_out.weight")[0],
        decoder_latent=(found.shape("decoder.conv_in.weight") or (0, 0))[1],
        dim=table[1],
        codebook_size=table[0],
        lookup=lookup,  # type: ignore[arg-type]
        middle_attention=found.has("encoder.mid.attn_1.q.weight"),
        channels=found.shape("encoder.conv_in.weight")[1],
    )


def attention(found: Found, side: str, levels: int) -> tuple[int, ...]:
    """Levels of one side that have attention."""
    return tuple(i for i in range(levels) if found.has(f"{side}.{i}.attn.0.q.weight"))
