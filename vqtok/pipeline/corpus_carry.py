"""What a corpus carries beside codes: as given, as it does already, or as WebDataset has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.corpus.format import named
from vqtok.corpus.index import identity_of
from vqtok.corpus.items import KINDS, LABEL, label_of
from vqtok.errors import UsageError
from vqtok.media.tars import Member

if TYPE_CHECKING:
    from vqtok.media.items import Item

NONE = "none"


@dataclass(frozen=True)
class Carry:
    """Says what is carried.

    Attributes:
        kinds: Of ``KINDS`` and ``LABEL``, sorted.
        notes: What is left out, for people.
        files: Files that are carried, without members of tars.
    """

    kinds: tuple[str, ...]
    notes: tuple[str, ...]
    files: tuple[str, ...]


def carry_of(
    given: str | None, items: Sequence[Item], *, format: str, folder: Path, restart: bool
) -> Carry:
    """Decide what a corpus carries.

    Args:
        given: "txt,cls,json", "none", or None: what the corpus in the folder carries, or if there
            is none, what lies beside members of tars. Tables also have a column for the folder of
            each item, unless it is "none".
        items: With what lies beside them.
        format: Of the corpus.
        folder: Of the corpus.
        restart: The corpus in the folder is deleted.

    Raises:
        UsageError: a kind that is unknown, or that the format cannot hold.
    """
    given_kinds, can = _parsed(given), named(format).carries
    if given_kinds and not set(given_kinds) <= set(can):
        what = ", ".join(kind for kind in given_kinds if kind not in can)
        raise UsageError(
            f"--carry {given}",
            f"format {format} holds codes alone, no {what}",
            hint="--format tar, files, parquet or arrow",
        )
    before = None if restart else identity_of(folder)
    in_tars = {kind for each in items if isinstance(each.place, Member) for kind, _ in each.beside}
    if given_kinds is not None:
        kinds = set(given_kinds)
    else:
        kinds = set(before.carry) - {LABEL} if before is not None else in_tars & set(can)
    labelled = given != NONE and LABEL in can
    if labelled and before is not None:
        labelled = LABEL in before.carry
    elif labelled:
        labelled = any(label_of(each.name) for each in items if each.problem is None)
    notes = tuple(_notes(items, kinds, can, format=format, given=given))
    files = tuple(
        str(place)
        for each in items
        for kind, place in each.beside
        if kind in kinds and isinstance(place, Path)
    )
    return Carry(tuple(sorted(kinds | ({LABEL} if labelled else set()))), notes, files)


def _parsed(given: str | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    kinds = [part.strip().lstrip(".") for part in given.split(",")]
    if kinds == [NONE]:
        return ()
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        known = f"{', '.join(sorted(KINDS, reverse=True))}, or {NONE}"
        raise UsageError(f"--carry {given}", f"unknown kind {unknown[0]!r}", hint=f"known: {known}")
    return tuple(kinds)


def _notes(
    items: Sequence[Item], kinds: set[str], can: Sequence[str], *, format: str, given: str | None
) -> Iterator[str]:
    there = Counter(kind for each in items for kind, _ in each.beside)
    left = {kind: count for kind, count in sorted(there.items()) if kind not in kinds}
    if left and given is None:
        listed = ", ".join(f"{count} .{kind}" for kind, count in left.items())
        way = f"--carry {','.join(left)}" if set(left) <= set(can) else "--format tar"
        why = "" if set(left) <= set(can) else f": format {format} holds codes alone"
        yield f"not carried: {listed} beside the items{why} ({way} takes them along)"
    for kind in sorted(kinds):
        if given is not None and not there[kind]:
            yield f"no .{kind} lies beside an item"
