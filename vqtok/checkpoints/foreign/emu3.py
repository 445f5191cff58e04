"""The vision tokenizer of Emu3: alone or inside the language model, by transformers' names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from vqtok.checkpoints.foreign import taming
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._names import like_taming, ours
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import require
from vqtok.tokenizers.published.emu3 import Config

FAMILY = Family(
    "Emu3",
    "the vision tokenizer of Emu3 by the names of transformers, alone or as `vqmodel` inside of "
    "the language model; single pictures",
    "`transformers`",
)
FAMILIES = (FAMILY,)

_RULES = (
    (r"^encoder\.down_block\.down\.", "encoder.down."),
    (r"^decoder\.up_block\.up\.", "decoder.up."),
    (r"\.middle_block\.", ".mid."),
    (r"\.mid\.attn_norm\.", ".mid.attn_1.norm."),
    (r"\.attn_norms\.(\d+)\.", r".attn.\1.norm."),
    (r"\.([qkv])_proj\.", r".\1."),
    (r"\.out_proj\.", ".proj_out."),
    (r"^(en|de)coder\.time_conv\.(\d+)\.conv\.", r"\1coder_time.steps.\2."),
    (r"^(en|de)coder\.time_res_stack\.", r"\1coder_time.blocks."),
)

_OURS = (*taming.OURS, "encoder_time.", "decoder_time.")


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("encoder.conv_in.weight", "encoder.down_block.down.0.block.0.conv1.weight",
                     "decoder.up_block.up.0.block.0.norm1.conv_y.weight",
                     "quant_conv.conv.weight", "quantize.embedding.weight"):  # fmt: skip
        return None
    inner = found.config.get("vq_config", found.config)
    if isinstance(inner, Mapping):
        require(inner, path=found.path, family=FAMILY.name, num_attention_heads=1)
    like = like_taming(found, _RULES)
    config = Config(
        **vars(
            taming.sizes(
                like,
                table=found.shape("quantize.embedding.weight"),
                lookup="nearest",
                blocks=like.count("encoder.down.0.block.{}.conv1.weight"),
            )
        ),
        time_steps=found.count("encoder.time_conv.{}.conv.conv.weight"),
        time_blocks=found.count("encoder.time_res_stack.{}.conv1.conv.weight"),
    )
    return Match(FAMILY.name, config, partial(_weights, like.tensors))


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    kept = ours(tensors, _OURS)
    return {name: each for name, each in kept.items() if not name.endswith("num_batches_tracked")}
