"""Directories of priors: a tokenizer's layout, and in ``config.json`` whose codes they are.

``"codes": {"tokenizer": NAME, "fingerprint": …, "extent": […]}`` is there so that what is sampled
can be decoded by the very tokenizer that made the codes, wherever it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vqtok.checkpoints import directory as directories
from vqtok.checkpoints import facts
from vqtok.checkpoints.facts import name_of, read_config, read_learned, read_spec

if TYPE_CHECKING:
    from torch import nn

    from vqtok.protocols import Prior

__all__ = ["content", "load", "save"]


def save(
    directory: str | Path,
    prior: Prior,
    *,
    tokenizer: str,
    extent: tuple[int, ...],
    training: Mapping[str, Any] | None = None,
    card: str | None = None,
    half: bool = False,
) -> None:
    """Write a prior as a model directory; a kill at any moment leaves the old or the new one.

    Arguments are those of ``content`` and of ``directory.save``, as are errors.
    """
    module, data = cast("nn.Module", prior), content(prior, tokenizer=tokenizer, extent=extent)
    directories.write(Path(directory), module, data, training=training, card=card, half=half)


def content(prior: Prior, *, tokenizer: str, extent: tuple[int, ...]) -> dict[str, Any]:
    """Return the content of a prior's ``config.json``.

    Args:
        prior: Its spec carries the fingerprint of the tokenizer.
        tokenizer: NAME of the tokenizer whose codes it models; "" if unknown.
        extent: Of the signals that it was trained on.
    """
    sign = prior.spec.fingerprint
    codes = {"tokenizer": tokenizer, "fingerprint": sign, "extent": list(extent)}
    return facts.content(prior.spec, prior.config) | {"codes": codes}


def load(name: str | Path, *, device: str = "cpu") -> Prior:
    """Make a prior from its directory, ready to use: evaluation mode, float32, no gradients.

    Args:
        name: NAME of a model, or a directory.
        device: Where the weights go, as torch names devices.

    Returns:
        The prior; its spec carries the fingerprint of its tokenizer.

    Raises:
        UsageError: no such model.
        ConfigError: a config that does not fit, with the location in it.
        CheckpointError: files missing or damaged, weights that do not fit the config, or a model
            that is no prior.
    """
    folder = directories.resolve(name) if isinstance(name, str) else name
    data = read_config(folder)
    learned = read_learned(folder, data)
    hint = "priors are trained on codes: vqtok train --data CODES/ -o DIR"
    config = directories.parsed_as("prior", folder, data, hint=hint)
    spec = read_spec(folder, data).with_fingerprint(learned.fingerprint if learned else "")
    prior: Prior = directories.built(folder, lambda: config.build(spec=spec), device=device)
    prior.name = name_of(folder)
    return prior
