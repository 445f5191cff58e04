"""What is under ``--data``: files, and members of tars.

A folder of anything is fine: the kind that most files have is trained on, the rest is counted.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from vqtok.errors import MediaError, UsageError, VqtokError
from vqtok.media.inputs import STDIN, expand, expanded, place_of, walk
from vqtok.media.items import Place
from vqtok.media.kinds import MODALITIES
from vqtok.media.tars import is_tar, members
from vqtok.training.data.places import Places
from vqtok.training.recipe import DEFAULT_PRESET

Kind = Literal["image", "audio"]
KINDS: tuple[Kind, ...] = ("image", "audio")

PROBLEMS = 100
"""Reasons that are kept; the rest of what cannot be reached is only counted."""


class Found(NamedTuple):
    """What was found.

    Attributes:
        kind: "image" or "audio".
        files: Of that kind, each once: in the order of the arguments, directories sorted by name.
        left_out: Files of the other kind ("audio"), and others by suffix (".txt"): how many.
        problems: Why places could not be searched, or members of tars not be taken; a hundred at
            most.
    """

    kind: Kind
    files: Places
    left_out: dict[str, int]
    problems: tuple[str, ...]

    def notes(self) -> tuple[str, ...]:
        """What was left out, for people."""
        counts = ", ".join(f"{count} {name}" for name, count in self.left_out.items())
        passed = (f"not {self.kind}, left out: {counts}",) if counts else ()
        return (*passed, *self.problems[:3])


def find(data: Sequence[str], *, kind: Kind | None = None) -> Found:
    """Find the media under folders, files, patterns, ``@lists`` and tars, of one kind.

    Args:
        data: What to search. A tar is searched wherever it lies.
        kind: To take; None: the kind that most files are of, images if there are as many.

    Raises:
        UsageError: nothing found, or nothing of that kind.
        MediaError: an argument that is missing or holds nothing. What a pattern or a list names is
            left out instead.
    """
    search = _Search(several=len(data) > 1)
    for argument in data:
        search.argument(argument)
    counts = {each: len(search.places[each]) for each in KINDS}
    if not any(counts.values()):
        raise search.first or UsageError(f"--data: no images or audio in {', '.join(data)}")
    chosen: Kind = kind or ("image" if counts["image"] >= counts["audio"] else "audio")
    other = KINDS[1 - KINDS.index(chosen)]
    if not counts[chosen]:
        raise UsageError(
            f"--data: these are {other} files, the recipe is for {chosen}",
            hint=f"--preset {DEFAULT_PRESET[other]}",
        )
    if counts[other]:
        search.passed[other] = counts[other]
    left_out = dict(sorted(search.passed.items()))
    return Found(chosen, search.places[chosen], left_out, tuple(search.problems))


class _Search:
    """One walk over everything that was named; ``several`` things may hold a file twice."""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self.places = {kind: Places() for kind in KINDS}
        self.passed: Counter[str] = Counter()
        self.problems: list[str] = []
        self.first: VqtokError | None = None
        """Why nothing may have been found."""
        self._seen: set[str] = set()
        self._met = 0  # media files and tars, those named before too

    def argument(self, argument: str) -> None:
        """Take in what an argument stands for.

        Raises:
            VqtokError: the argument itself is at fault.
        """
        if argument in (STDIN, "@-"):
            raise UsageError(f"{argument}: training reads files again and again, not stdin")
        places = expanded([argument])
        self._several |= len(places) > 1
        for place in places:
            try:
                self._place(place)
            except VqtokError as error:
                if places == [argument] and not glob.has_magic(argument):
                    raise
                self._pass(_suffix(place), error)

    def _place(self, place: str) -> None:
        path = Path(place)
        if path.is_dir():
            self._directory(place)
        elif is_tar(path) and path.is_file():
            self._archive(path)
        else:
            for found in expand(place, KINDS, []):
                self._file(place, found.kind, str(path.parent.name))

    def _directory(self, place: str) -> None:
        failures: list[tuple[str, VqtokError]] = []
        before = self._met
        start = len(place.rstrip(os.sep)) + 1
        own = Path(place).resolve().name
        for path, suffix in walk(place, failures):
            if suffix == ".tar":
                try:
                    self._archive(Path(path))
                except MediaError as error:
                    self._pass(suffix, error)
                continue
            folder = path[start:].rpartition(os.sep)[0]
            self._file(path, MODALITIES.get(suffix), folder.replace(os.sep, "/") or own)
        for _, failure in failures:
            self._note(failure)
        if self._met == before and not self.problems:
            raise MediaError(f"{place}: no image or audio files in this directory")

    def _archive(self, tar: Path) -> None:
        self._met += 1
        if not self._is_new(str(tar)):
            return
        for found in members(tar, KINDS):
            if found.problem is not None:
                self._pass(_suffix(found.member.name), found.problem)
                continue
            folder = found.member.name.rpartition("/")[0]
            self._add(found.kind, found.member, folder.removeprefix("./"))

    def _file(self, path: str, kind: str | None, label: str) -> None:
        if kind not in KINDS:
            self.passed[_suffix(path)] += 1
            return
        self._met += 1
        if self._is_new(path):
            self._add(kind, path, label)

    def _add(self, kind: str, place: Place | str, label: str) -> None:
        for each in KINDS:
            if each == kind:
                self.places[each].add(place, label)

    def _pass(self, suffix: str, error: VqtokError) -> None:
        self.passed[suffix] += 1
        self._note(error)

    def _note(self, error: VqtokError) -> None:
        self.first = self.first or error
        if len(self.problems) < PROBLEMS:
            self.problems.append(str(error))

    def _is_new(self, path: str) -> bool:
        if not self._several:
            return True
        place = place_of(Path(path))
        if place in self._seen:
            return False
        self._seen.add(place)
        return True


def _suffix(path: str) -> str:
    """How a file that is left out is counted."""
    return os.path.splitext(path)[1].lower() or "no suffix"  # noqa: PTH122
