"""DAC as its authors publish it: a ``.pth`` with ``state_dict`` and ``metadata.kwargs``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from vqtok.checkpoints.foreign import _names
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.checkpoints.foreign._settings import picked, require
from vqtok.errors import CheckpointError
from vqtok.tokenizers.published import dac

DAC = Family("DAC `.pth`", "files of descript-audio-codec", "`descript-audio-codec`", "any length")
FAMILIES = (DAC,)

_FIELDS = {
    "encoder_dim": "encoder_hidden_size",
    "encoder_rates": "downsampling_ratios",
    "decoder_dim": "decoder_hidden_size",
    "sample_rate": "sampling_rate",
}
_DEFAULTS = {"sampling_rate": 44100}
"""Where the package's are not the library's."""

_UNITS = {"0": "snake1", "1": "conv1", "2": "snake2", "3": "conv2"}


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("quantizer.quantizers.0.codebook.weight", "encoder.block.1.block.3.alpha"):
        return None
    metadata = found.extra.get("metadata")
    kwargs = metadata.get("kwargs") if isinstance(metadata, Mapping) else None
    if not isinstance(kwargs, Mapping):
        raise CheckpointError(
            found.path, f"{DAC.name}: no metadata.kwargs in it: its sampling rate is unknown"
        )
    keys = {_FIELDS.get(str(key), str(key)): value for key, value in kwargs.items()}
    config = picked({**_DEFAULTS, **keys}, dac.Config, path=found.path)
    ratios = config.downsampling_ratios
    width = config.encoder_hidden_size << len(ratios)
    require(keys, path=found.path, family=DAC.name, decoder_rates=list(ratios)[::-1])
    if keys.get("latent_dim") is not None:
        require(keys, path=found.path, family=DAC.name, latent_dim=width)
    return Match(DAC.name, config, partial(_names.of_network, found.tensors, _rules(len(ratios))))


def _rules(strides: int) -> list[tuple[str, str]]:
    """Returns the package numbers what the library names."""
    rules = [
        (r"^encoder\.block\.0\.", "encoder.conv1."),
        (rf"^encoder\.block\.{strides + 1}\.", "encoder.snake1."),
        (rf"^encoder\.block\.{strides + 2}\.", "encoder.conv2."),
        (r"^decoder\.model\.0\.", "decoder.conv1."),
        (rf"^decoder\.model\.{strides + 1}\.", "decoder.snake1."),
        (rf"^decoder\.model\.{strides + 2}\.", "decoder.conv2."),
    ]
    for index in range(strides):
        old, new = rf"^encoder\.block\.{index + 1}\.block\.", f"encoder.block.{index}."
        rules += [(old + r"3\.", new + "snake1."), (old + r"4\.", new + "conv1.")]
        rules += _unit_rules(old, new, first=0)
        old, new = rf"^decoder\.model\.{index + 1}\.block\.", f"decoder.block.{index}."
        rules += [(old + r"0\.", new + "snake1."), (old + r"1\.", new + "conv_t1.")]
        rules += _unit_rules(old, new, first=2)
    return rules


def _unit_rules(old: str, new: str, *, first: int) -> list[tuple[str, str]]:
    return [
        (rf"{old}{first + unit}\.block\.{part}\.", f"{new}res_unit{unit + 1}.{name}.")
        for unit in range(3)
        for part, name in _UNITS.items()
    ]
