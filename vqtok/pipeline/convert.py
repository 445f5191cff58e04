"""A checkpoint of another program → a model directory of ours, with the same codes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vqtok.checkpoints import directory, foreign
from vqtok.checkpoints.directory import ModelInfo
from vqtok.checkpoints.foreign import Recognised
from vqtok.checkpoints.weight_files import is_foreign
from vqtok.errors import UsageError


@dataclass(frozen=True)
class Converted:
    """What became of a checkpoint.

    Attributes:
        source: Facts of the checkpoint.
        model: Facts of the directory; its fingerprint is the same, unless rounded to float16.
    """

    source: ModelInfo
    model: ModelInfo


def check(name: str, target: Path, *, force: bool) -> Path:
    """Find out early, and without torch, what would fail; the checkpoint's place.

    Raises:
        UsageError: nothing there to convert, or the target exists and is not to be replaced.
        CheckpointError: a path to something that is no checkpoint.
    """
    place = directory.resolve(name)
    if not is_foreign(place):
        hint = f"use it: -m {name}; without -o its graphs are written anew"
        raise UsageError(name, "already a model of vqtok", hint=hint)
    if target.is_file():
        raise UsageError(target, "a file, not a directory", hint="name a new directory")
    if target.is_dir() and any(target.iterdir()):
        if not (target / "config.json").is_file() or is_foreign(target):
            raise UsageError(target, "not empty", hint="name a new directory")
        if not force:
            raise UsageError(target, "already exists", hint="-f overwrites")
    return place


def write_graphs(name: str) -> Path:
    """Write the graphs of a model of ours anew, beside its weights; its directory.

    Raises:
        UsageError: no model of ours, one whose networks cannot be written as graphs, or no
            onnxruntime.
        CheckpointError: a damaged model, or a directory that cannot be written.
    """
    place = directory.resolve(name)
    if is_foreign(place):
        raise UsageError("-o", "missing: where the model is to be written", hint="-o DIR")
    if not directory.write_graphs(place):
        reason = "no graphs: this kind of model is run by torch alone"
        raise UsageError(name, reason, hint="vqtok info MODEL shows what it is")
    return place


def convert(place: Path, target: Path, *, half: bool = False) -> Converted:
    """Write what ``check`` found as a model directory.

    Args:
        place: The checkpoint.
        target: Made if missing.
        half: Store float16: half the size, but codes that hang on the last bits may differ.

    Raises:
        CheckpointError: unreadable, of no known family, or the target cannot be written.
        UsageError: a package that the family needs is missing.
    """
    found = foreign.read(place)
    directory.save(target, found.open(), card=_card(found, target), half=half)
    return Converted(found.info, directory.describe(target))


def _card(found: Recognised, target: Path) -> str:
    notes = "".join(f"- {note}\n" for note in found.info.notes)
    return (
        f"# {target.resolve().name}\n\n"
        f"{found.info.foreign}, converted from `{found.info.name}` by vqtok. The weights are those "
        "of that checkpoint,\nwith its licence and limits.\n" + (f"\n{notes}" if notes else "")
    )
