"""``VQModel`` of diffusers: directories with ``config.json``, alone or inside a pipeline."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from vqtok.checkpoints.foreign import taming
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._names import like_taming, ours
from vqtok.checkpoints.foreign._reading import Found
from vqtok.tokenizers.published import movq

FAMILY = Family(
    "diffusers VQModel",
    "directories of diffusers, or of a pipeline with `vqvae/`; safetensors or `.bin`",
    "`diffusers.VQModel`",
)
SPATIAL = Family(
    "MoVQ",
    "`VQModel` of diffusers with spatial norms, as in Kandinsky 2",
    "`diffusers.VQModel`",
)
FAMILIES = (FAMILY, SPATIAL)

_RULES = (
    (r"^encoder\.down_blocks\.", "encoder.down."),
    (r"^decoder\.up_blocks\.", "decoder.up."),
    (r"\.(down|up)samplers\.0\.", r".\1sample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.resnets\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.(?:group|spatial)_norm\.", ".norm."),
    (r"\.(?:to_([qkv])|query|key|value)\.", lambda match: f".{match[1] or match[0][1]}."),
    (r"\.(?:to_out\.0|proj_attn)\.", ".proj_out."),
)


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("encoder.conv_in.weight", "encoder.down_blocks.0.resnets.0.conv1.weight",
                     "decoder.up_blocks.0.resnets.0.conv1.weight", "quant_conv.weight",
                     "quantize.embedding.weight"):  # fmt: skip
        return None
    levels = found.count("encoder.down_blocks.{}.resnets.0.conv1.weight")
    like = like_taming(found, _RULES, levels=levels)
    config = taming.sizes(
        like,
        table=found.shape("quantize.embedding.weight"),
        lookup="nearest",
        blocks=like.count("encoder.down.0.block.{}.conv1.weight"),
    )
    groups = found.config.get("norm_num_groups", config.groups)
    notes = () if found.config else ("no config.json: norms are taken to have 32 groups",)
    config = replace(config, groups=groups if isinstance(groups, int) else config.groups)
    spatial = found.has("decoder.mid_block.resnets.0.norm1.conv_y.weight")
    return Match(
        SPATIAL.name if spatial else FAMILY.name,
        movq.Config(**vars(config)) if spatial else config,
        partial(ours, like.tensors, taming.OURS),
        notes=notes,
    )
