"""Checkpoints of other programs: recognised by their keys and shapes, read without running them.

Each file here is one published layout, met at the border: its weights get our names and go into the
tokenizer of ``tokenizers/`` that does the same arithmetic. From then on it is a model like ours.
Its fingerprint is that of the directory that ``vqtok convert`` makes of it, so codes are at home in
both. torch is imported when a checkpoint is opened, not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vqtok import config as configs
from vqtok import plugins
from vqtok.checkpoints.facts import ModelInfo, Read, check_sizes, content, name_of
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.errors import CheckpointError, ConfigError, VqtokError
from vqtok.protocols import decodes

if TYPE_CHECKING:
    from torch import Tensor

    from vqtok.checkpoints.foreign._reading import Found
    from vqtok.protocols import Tokenizer

__all__ = [
    "Recognised",
    "describe",
    "families",
    "open",
    "read",
    "recognise",
]

LAYOUTS: tuple[str, ...] = (
    "diffusers",
    "llamagen",
    "rosinality",
    "dalle",
    "maskgit",
    "magvit2",
    "var",
    "titok",
    "cosmos",
    "apertus",
    "emu3",
    "taming",
    "transformers",
    "wavtokenizer",
    "snac",  # before DAC, whose names are much like its own
    "dac_pth",
    "encodec_th",
)
"""Files of this room, in the order in which they are tried; the first that knows it wins."""

_SHOWN = 8


@dataclass(frozen=True)
class Recognised:
    """A stranger's checkpoint that can be used.

    Attributes:
        match: What it was taken for.
        weights: As a model directory would store them.
        info: Its facts, as of a model directory.
    """

    match: Match
    weights: Mapping[str, Tensor]
    info: ModelInfo

    def open(self) -> Tokenizer:
        """Build the tokenizer: evaluation mode, float32, no gradients, a fingerprint.

        Raises:
            CheckpointError: weights that do not fit.
            UsageError: a package that this family needs is not installed.
        """
        from vqtok.checkpoints import building

        path, config = self.info.path, self.match.config
        try:
            module = building.build(config.build, self.weights, subject=path, file=path)
        except ConfigError as error:
            reason = error.reason.removeprefix("model: ")
            raise CheckpointError(path, f"{self.match.family}: {reason}") from error
        module.spec, module.name = self.info.spec, self.info.name
        return cast("Tokenizer", module)


def recognise(path: Path) -> Match:
    """Tell what a checkpoint is.

    Args:
        path: A file, or a directory as it was downloaded.

    Raises:
        CheckpointError: it cannot be read, or is of no known family; names some of its keys.
    """
    from vqtok.checkpoints.foreign import _reading

    found = _reading.read(path)
    first = _first_match(found, by_config=True)
    matched = [] if isinstance(first, VqtokError) or first is None else [(found, first)]
    for other in found.elsewhere():
        if other.node is found.node or _inside(other, matched):
            continue
        match = _first_match(other, by_config=False)
        if isinstance(match, Match):
            matched.append((other, match))
    if not matched:
        raise first if isinstance(first, VqtokError) else _unknown(found)
    (best, match), *others = sorted(matched, key=lambda each: not each[0].is_average)
    if not others:
        return match
    also = ", ".join(other.where for other, _ in others)
    note = f"weights of {best.where}; those of {also} are there too"
    return replace(match, notes=(*match.notes, note))


def _first_match(found: Found, *, by_config: bool) -> Match | VqtokError | None:
    """Returns what the first layout that knows these weights makes of them.

    Args:
        found: One node of a file.
        by_config: Whether also layouts are tried that look at ``config.json`` alone.
    """
    for each in _layouts():
        if not by_config and getattr(each, "BY_CONFIG", False):
            continue
        try:
            match: Match | None = each.recognise(found)
        except VqtokError as error:
            return error
        except Exception as error:  # of sizes that do not fit, anything may come
            if not each.__name__.startswith(__name__):  # what a package adds hides no other
                continue
            kind = each.FAMILIES[0].name
            reason = f"{kind}: its sizes do not fit together: {error}"
            return CheckpointError(found.path, reason)
        if match is not None:
            return match
    return None


def _inside(found: Found, matched: list[tuple[Found, Match]]) -> bool:
    """Tell whether these weights are part of a network that is known, and not its average."""
    return any(found.is_part_of(other) for other, _ in matched)


def read(path: Path) -> Recognised:
    """Read a checkpoint, with everything that is known of it; no network is built.

    Raises:
        CheckpointError: unreadable or unknown.
    """
    from vqtok.checkpoints import weights

    match = recognise(path)
    model = configs.dump(match.config)
    try:
        tensors = {name: _plain(tensor) for name, tensor in sorted(match.weights().items())}
        check_sizes(model, sum(each.numel() for each in tensors.values()), subject=path)
        found = match.config.spec
    except CheckpointError:
        raise
    except Exception as error:  # of sizes that do not fit, anything may come
        reason = error.reason if isinstance(error, VqtokError) else str(error)
        raise CheckpointError(path, f"{match.family}: {reason}") from error
    text = configs.to_json(content(found, match.config))
    sign, size = weights.signature(text, tensors)
    info = ModelInfo(
        name=name_of(path),
        path=path,
        config=model,
        spec=found.with_fingerprint(sign),
        fingerprint=sign,
        reads=(),
        parameters=sum(each.numel() for each in tensors.values()),
        size_bytes=size,
        training={},
        foreign=match.family,
        notes=(*match.left_out, *match.notes),
        decodes=decodes(match.config),
    )
    return Recognised(match, tensors, info)


def open(path: Path) -> Tokenizer:
    """Open the tokenizer of a checkpoint.

    Raises:
        CheckpointError, UsageError: as ``read`` and ``Recognised.open``.
    """
    return read(path).open()


def describe(path: Path) -> ModelInfo:
    """Read the facts of a checkpoint, as of a model directory; this needs torch.

    They hold the weights until ``directory.load`` asks for them.

    Raises:
        CheckpointError: as ``read``.
    """
    found = read(path)
    return replace(found.info, read=Read(open=found.open))


def families() -> list[Family]:
    """Returns every family that can be read, in the order of the layouts."""
    return [family for each in _layouts() for family in each.FAMILIES]


def _layouts() -> Iterator[Any]:
    for name in LAYOUTS:
        yield importlib.import_module(f"{__name__}.{name}")
    yield from plugins.layouts()


def _plain(tensor: Tensor) -> Tensor:
    """Returns what ``directory.save`` would store of it."""
    import torch

    stored = tensor.detach().cpu()
    if stored.is_floating_point():
        stored = stored.to(torch.float32)
    return stored.contiguous()


def _unknown(found: Found) -> CheckpointError:
    names = sorted(found.tensors)
    some = ", ".join(_heads(found.tensors)[:_SHOWN]) or "no tensors"
    known = ", ".join(sorted({family.name for family in families()}))
    unlike_ours = "no config.json, and " if found.path.is_dir() and not found.config else ""
    return CheckpointError(
        found.path,
        f"{unlike_ours}not of a known family; {len(names)} tensors, of {some}",
        hint=f"known families: {known}",
    )


def _heads(names: Mapping[str, object]) -> list[str]:
    """Returns the distinct beginnings of names, which show an architecture."""
    return sorted({".".join(name.split(".")[:2]) for name in names})
