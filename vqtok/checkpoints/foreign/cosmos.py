"""Discrete image tokenizers of Cosmos: TorchScript archives, and checkpoints of its training.

Of an archive only the numbers are read; the code in it is not even unpacked. ``encoder.jit`` and
``decoder.jit`` each hold their side, ``autoencoder.jit`` holds both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vqtok.checkpoints.foreign import taming
from vqtok.checkpoints.foreign._layout import Family, Match, left_out
from vqtok.checkpoints.foreign._names import ours
from vqtok.checkpoints.foreign._reading import Found
from vqtok.errors import CheckpointError
from vqtok.tokenizers.published.cosmos import Config

FAMILY = Family(
    "Cosmos DI",
    "`autoencoder.jit`, a directory with `encoder.jit` and `decoder.jit`, or `model.pt`",
    "an independent statement of the published network, traced and scripted",
)
FAMILIES = (FAMILY,)

LEVELS = (8, 8, 8, 5, 5, 5)
"""Of every published one; plain weights may not tell them."""

CHANNELS = 3
ALIGNED = 16
"""Upstream pads the sides of pictures to multiples of this, whatever the stride."""

_HAAR = 0.5**0.5
_LEVELS, _TAPS = "quantizer._levels", ("encoder.patcher.wavelets", "decoder.unpatcher.wavelets")


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    here = _plain(found)
    patches = {
        side: _patch(here, name, axis)
        for side, name, axis in (("encoder", "conv_in", 1), ("decoder", "conv_out", 0))
    }
    if not any(patches.values()):
        return None
    if not all(patches.values()):
        raise CheckpointError(
            found.path,
            "one side of a Cosmos tokenizer",
            hint="autoencoder.jit holds both, as does a directory with encoder.jit and decoder.jit",
        )
    _check_transform(here)
    widths = here.widths("encoder.down.{}.block.0.conv1.weight")
    config = Config(
        widths=widths,
        stem=here.shape("encoder.conv_in.weight")[0],
        blocks=here.count("encoder.down.0.block.{}.conv1.weight"),
        halvings=here.count("encoder.down.{}.downsample.conv.weight"),
        attention=taming.attention(here, "encoder.down", len(widths)),
        decoder_attention=taming.attention(here, "decoder.up", len(widths)),
        patch=patches["encoder"],
        latent=here.shape("quant_conv.weight")[1],
        levels=_levels(here),
        channels=CHANNELS,
    )
    return Match(
        FAMILY.name,
        config,
        partial(_weights, here.tensors),
        left_out=left_out(found.tensors, "loss.", "ema.loss-"),
        notes=_notes(here, config),
    )


def _plain(found: Found) -> Found:
    """Returns the same under the names of the whole network, averages in place of the weights."""
    tensors = {}
    for name, tensor in found.tensors.items():
        plain = re.sub(r"^network\.", "", name)
        if plain != name:
            tensor = found.tensors.get("ema." + name.replace(".", "-"), tensor)
        elif found.parts:  # each begins with the name of its file
            plain = re.sub(r"^(en|de)coder\.", "", name)
        tensors[re.sub(r"^inv_quant\.", "", plain)] = tensor
    return replace(found, tensors=tensors)


def _patch(found: Found, name: str, axis: int) -> int:
    """Side of the patches that one side of the network has for pixels; 0 if it is none of these."""
    side, other = ("decoder.up", "post_quant_conv") if axis == 0 else ("encoder.down", "quant_conv")
    shape = found.shape(f"{side.partition('.')[0]}.{name}.weight")
    if len(shape) != 4 or not found.has(f"{side}.0.block.0.conv1.weight", f"{other}.weight"):
        return 0
    patch = next((p for p in (2, 4, 8, 16) if shape[axis] == CHANNELS * p * p), 0)
    return patch if found.has(f"{side.partition('.')[0]}.mid.attn_1.q.weight") else 0


def _levels(found: Found) -> tuple[int, ...]:
    dim = found.shape("quant_conv.weight")[0]
    if found.has(_LEVELS) and found.shape(_LEVELS) == (dim,):
        return tuple(int(each) for each in found.tensors[_LEVELS].tolist())
    if dim == len(LEVELS) and not found.has(_LEVELS):
        return LEVELS
    raise CheckpointError(
        found.path,
        f"a Cosmos tokenizer without levels for its {dim} numbers",
        hint="continuous tokenizers (CI) have no codes; of discrete ones those with FSQ are read",
    )


def _check_transform(found: Found) -> None:
    for name in _TAPS:
        if found.has(name) and not (
            found.shape(name) == (2,)
            and bool(((found.tensors[name].float() - _HAAR).abs() < 0.01).all())
        ):
            raise CheckpointError(found.path, f"{name}: not the Haar transform of Cosmos")


def _notes(found: Found, config: Config) -> tuple[str, ...]:
    notes = []
    stride = config.patch * 2**config.halvings
    if not found.has(_LEVELS):
        notes.append(f"the file does not tell its levels: {list(LEVELS)} are assumed")
    if found.tensors["encoder.conv_in.weight"].dtype == torch.bfloat16:
        notes.append("computed in float32: in bfloat16, as upstream has it, some codes differ")
    if stride < ALIGNED:
        notes.append(f"pictures are padded to multiples of {stride}; upstream pads to {ALIGNED}")
    return tuple(notes)


def _weights(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
    out = {k: v for k, v in ours(found, parts).items() if "patcher." not in k}
    for name in _TAPS:
        # Traced modules share them; each of ours is stored.
        out[name.partition(".")[2]] = found.get(name, torch.full((2,), _HAAR)).clone()
    return out
