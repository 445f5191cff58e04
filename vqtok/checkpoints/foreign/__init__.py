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
from vqtok.checkpoints.facts import FORMAT, ModelInfo, Read, check_sizes, name_of
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.errors import CheckpointError, UsageError, VqtokError

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
    "taming",
    "hf_encodec",
    "hf_dac",
    "hf_mimi",
    "snac",  # before DAC, whose names are much like its own
    "dac_pth",
    "encodec_th",
)
"""Files of this room, in the order in which they are asked; the first that knows it wins."""

_SHOWN = 8


@dataclass(frozen=True)
class Recognised:
    """A stranger's checkpoint that can be used.

    Attributes:
        match: What it was taken for.
        tokenizer: Ready to use, as ``directory.load`` gives it.
        info: Its facts, as of a model directory.
    """

    match: Match
    tokenizer: Tokenizer
    info: ModelInfo


def recognise(path: Path) -> Match:
    """Tell what a checkpoint is.

    Args:
        path: A file, or a directory as it was downloaded.

    Raises:
        CheckpointError: it cannot be read, or is of no known family; names some of its keys.
    """
    from vqtok.checkpoints.foreign import _reading

    found = _reading.read(path)
    first = _asked(found, by_config=True)
    matched = [] if isinstance(first, VqtokError) or first is None else [(found, first)]
    for other in found.elsewhere():
        if other.place is found.place or _inside(other, matched):
            continue
        match = _asked(other, by_config=False)
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


def _asked(found: Found, *, by_config: bool) -> Match | VqtokError | None:
    """Returns what the first layout that knows these weights makes of them.

    Args:
        found: One place of a file.
        by_config: Whether also layouts are asked that look at ``config.json`` alone.
    """
    for each in _layouts():
        if not by_config and getattr(each, "BY_CONFIG", False):
            continue
        try:
            match: Match | None = each.recognise(found)
        except VqtokError as error:
            return error
        except Exception as error:  # of sizes that do not fit, anything may come
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
    """Open a checkpoint, with everything that is known of it.

    Raises:
        CheckpointError: unreadable, unknown, or weights that do not fit.
        UsageError: a package that this family needs is not installed.
    """
    from concurrent.futures import ThreadPoolExecutor

    from vqtok.checkpoints import weights
    from vqtok.checkpoints.budget import Budget, told
    from vqtok.checkpoints.unfilled import Unfilled

    match = recognise(path)
    try:
        tensors = {name: _plain(tensor) for name, tensor in sorted(match.weights().items())}
        numbers = sum(each.numel() for each in tensors.values())
        check_sizes(configs.dump(match.config), numbers, place=path)
        # Networks of libraries do not all leave out their drawing for the sake of ``Unfilled``.
        with _quiet_random(), Budget(tensors, place=str(path)), Unfilled():
            module = cast(Any, match.config.build(drawn=False))
    except (UsageError, CheckpointError):
        raise
    except Exception as error:  # libraries have errors of their own
        reason = f"{match.family}: cannot be built: {told(error)}"
        raise CheckpointError(path, reason) from error
    spec = {k: v for k, v in module.spec.to_json().items() if k != "fingerprint"}
    model = configs.dump(match.config)
    text = configs.to_json({"vqtok": FORMAT, "spec": spec, "model": model})
    with ThreadPoolExecutor(1) as beside:  # numbers are hashed without Python's lock
        signed = beside.submit(weights.signature, text, tensors)
        weights.restore(module, tensors, path)
    module = module.float().eval().requires_grad_(False)
    sign, size = signed.result()
    module.spec = module.spec.with_fingerprint(sign)
    module.name = name_of(path)
    info = ModelInfo(
        name=module.name,
        path=path,
        config=model,
        spec=module.spec,
        fingerprint=sign,
        reads=(),
        parameters=sum(each.numel() for each in tensors.values()),
        size_bytes=size,
        training={},
        foreign=match.family,
        notes=(*match.left_out, *match.notes),
    )
    return Recognised(match, module, info)


def open(path: Path) -> Tokenizer:
    """Open the tokenizer of a checkpoint: evaluation mode, float32, no gradients, a fingerprint.

    Raises:
        CheckpointError, UsageError: as ``read``.
    """
    return read(path).tokenizer


def describe(path: Path) -> ModelInfo:
    """Read the facts of a checkpoint, as of a model directory; this needs torch.

    They hold the tokenizer until ``directory.load`` asks for it.

    Raises:
        CheckpointError, UsageError: as ``read``.
    """
    found = read(path)
    return replace(found.info, read=Read(tokenizer=found.tokenizer))


def families() -> list[Family]:
    """Returns every family that can be read, in the order of the layouts."""
    return [family for each in _layouts() for family in each.FAMILIES]


def _layouts() -> Iterator[Any]:
    for name in LAYOUTS:
        yield importlib.import_module(f"vqtok.checkpoints.foreign.{name}")


def _plain(tensor: Tensor) -> Tensor:
    """Returns what ``directory.save`` would store of it."""
    import torch

    stored = tensor.detach().cpu()
    if stored.is_floating_point():
        stored = stored.to(torch.float32)
    return stored.contiguous()


def _quiet_random() -> Any:
    import torch

    # Fresh weights are drawn only to be replaced: the caller's random numbers stay his own.
    return torch.random.fork_rng(devices=[])


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
