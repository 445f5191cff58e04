"""The image or audio files under ``--data``, members of tars among them.

A folder of anything is fine: the kind that most files have is trained on, the rest is counted.
"""

from __future__ import annotations

import glob
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, overload

import numpy as np

from vqtok.errors import MediaError, UsageError, VqtokError, explained
from vqtok.media.inputs import STDIN, expand, expanded, place_of, walk
from vqtok.media.items import Place
from vqtok.media.kinds import LeftOut, is_tar, kind_in_directory
from vqtok.media.tars import Member, members
from vqtok.training.recipe import DEFAULT_PRESET

Kind = Literal["image", "audio"]
KINDS: tuple[Kind, ...] = ("image", "audio")

PROBLEMS = 100
"""Reasons that are kept; the rest of what cannot be reached is only counted."""


_SHOWN = 3


class FileList(Sequence[Place]):
    """Lists files of one kind, each labelled with its directory; a million take some 100 MB.

    Paths are kept as bytes and made anew when asked for: an object each would be half a gigabyte.
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("q")
        self._tar = array("i")
        self._span = array("q")  # offset and size of a member
        self._label = array("i")
        self._tars: dict[Path, int] = {}
        self._found: dict[str, int] = {}  # label → number, as they were met
        self._tars_by_number: list[Path] = []

    @classmethod
    def of(cls, files: Sequence[Place]) -> FileList:
        """List given files, each labelled with the name of its directory."""
        made = cls()
        for file in files:
            name = file.name if isinstance(file, Member) else str(file)
            made.add(file, os.path.basename(os.path.dirname(name)))  # noqa: PTH119, PTH120
        return made

    def add(self, file: Place | str, label: str) -> None:
        """Append a member of a tar, or a path."""
        number, offset, size, name = -1, 0, 0, str(file)
        if isinstance(file, Member):
            number = self._tars.setdefault(file.tar, len(self._tars))
            if number == len(self._tars_by_number):
                self._tars_by_number.append(file.tar)
            name, offset, size = file.name, file.offset, file.size
        self._text += name.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._text))
        self._tar.append(number)
        self._span.extend((offset, size))
        self._label.append(self._found.setdefault(label, len(self._found)))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> FileSubset: ...
    def __getitem__(self, index: int | slice) -> Place | FileSubset:
        if isinstance(index, slice):
            return FileSubset(self, np.arange(len(self))[index])
        at = range(len(self))[index]
        start = self._ends[at - 1] if at else 0
        name = self._text[start : self._ends[at]].decode("utf-8", "surrogateescape")
        if self._tar[at] < 0:
            return Path(name)
        tar = self._tars_by_number[self._tar[at]]
        return Member(tar, name, self._span[2 * at], self._span[2 * at + 1])

    @property
    def names(self) -> tuple[str, ...]:
        """Directories that hold the files, relative to what was asked for, sorted."""
        return tuple(sorted(self._found))

    def labels(self) -> np.ndarray:
        """Number each file's directory by its position in ``names``: (n,) int64."""
        order = {name: number for number, name in enumerate(self.names)}
        table = np.array([order[name] for name in self._found], dtype=np.int64)
        numbers = np.frombuffer(self._label, dtype=np.int32) if self._label else np.zeros(0, int)
        return table[numbers] if len(table) else np.zeros(0, dtype=np.int64)

    def subset(self, chosen: np.ndarray) -> FileSubset:
        """Choose files by their numbers."""
        return FileSubset(self, chosen)


class FileSubset(Sequence[Place]):
    """Lists some of the files, in an order of their own.

    Args:
        files: All of them.
        chosen: (n,) int64, which.
    """

    def __init__(self, files: FileList, chosen: np.ndarray) -> None:
        self._files, self._chosen = files, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> FileSubset: ...
    def __getitem__(self, index: int | slice) -> Place | FileSubset:
        if isinstance(index, slice):
            return FileSubset(self._files, self._chosen[index])
        return self._files[int(self._chosen[index])]

    @property
    def names(self) -> tuple[str, ...]:
        """``FileList.names`` of all files, so that a label means the same in every subset."""
        return self._files.names

    def labels(self) -> np.ndarray:
        """Returns ``FileList.labels`` of these."""
        out: np.ndarray = self._files.labels()[self._chosen]
        return out


class FoundFiles(NamedTuple):
    """Lists what was found.

    Attributes:
        kind: "image" or "audio".
        files: Of that kind, each once: in the order of the arguments, directories sorted by name.
        left_out: Files of the other kind ("audio"), and others by suffix (".txt").
        problems: Why directories could not be searched, or members of tars not be taken; a hundred
            at most.
        unreached: How many problems there are.
    """

    kind: Kind
    files: FileList
    left_out: LeftOut
    problems: tuple[str, ...]
    unreached: int = 0

    def notes(self) -> tuple[str, ...]:
        """Say what was left out, for people."""
        counts = ", ".join(f"{n} {name}" for name, n in sorted(self.left_out.counts.items()))
        passed = (f"not {self.kind}, left out: {counts}",) if counts else ()
        rest = self.unreached - _SHOWN
        more = (f"{rest} more cannot be read",) if rest > 0 else ()
        return (*passed, *self.problems[:_SHOWN], *more)


def find_files(data: Sequence[str], *, kind: Kind | None = None) -> FoundFiles:
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
    counts = {each: len(search.files[each]) for each in KINDS}
    if not any(counts.values()):
        raise search.first or UsageError("--data", f"no images or audio in {', '.join(data)}")
    chosen: Kind = kind or ("image" if counts["image"] >= counts["audio"] else "audio")
    other = KINDS[1 - KINDS.index(chosen)]
    if not counts[chosen]:
        raise UsageError(
            "--data",
            f"these are {other} files, the recipe is for {chosen}",
            hint=f"--preset {DEFAULT_PRESET[other]}",
        )
    for place in search.files[other]:
        search.passed.add(str(place), other)
    problems = tuple(search.problems)
    return FoundFiles(chosen, search.files[chosen], search.passed, problems, search.unreached)


class _Search:
    """Walks over everything that was named; ``several`` arguments may hold a file twice."""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self.files = {kind: FileList() for kind in KINDS}
        self.passed = LeftOut()
        self.problems: list[str] = []
        self.unreached = 0
        self.first: VqtokError | None = None
        """Why nothing may have been found."""
        self._seen: set[str] = set()
        self._met = 0  # media files and tars, those named before too

    def argument(self, argument: str) -> None:
        """Search what an argument stands for.

        Raises:
            VqtokError: the argument itself is at fault.
        """
        if argument in (STDIN, "@-"):
            raise UsageError(argument, "training reads files again and again, not stdin")
        paths = expanded([argument])
        self._several |= len(paths) > 1
        for path in paths:
            try:
                self._path(path)
            except (VqtokError, OSError) as error:
                if paths == [argument] and not glob.has_magic(argument):
                    raise
                self._pass(path, explained(error, path))

    def _path(self, text: str) -> None:
        path = Path(text)
        if path.is_dir():
            self._directory(text)
        elif is_tar(path) and path.is_file():
            self._archive(path)
        else:
            for found in expand(text, KINDS, [], LeftOut()):
                self._file(text, found.kind, str(path.parent.name))

    def _directory(self, text: str) -> None:
        failures: list[tuple[str, VqtokError]] = []
        before = self._met
        start = len(text.rstrip(os.sep)) + 1
        own = Path(text).resolve().name
        for path, suffix in walk(text, failures):
            if suffix == ".tar":
                try:
                    self._archive(Path(path))
                except MediaError as error:
                    self._pass(path, error)
                continue
            folder = path[start:].rpartition(os.sep)[0]
            self._file(path, kind_in_directory(path, suffix), folder.replace(os.sep, "/") or own)
        for _, failure in failures:
            self._note(failure)
        if self._met == before and not self.problems:
            raise MediaError(text, "no image or audio files in this directory")

    def _archive(self, tar: Path) -> None:
        self._met += 1
        if not self._is_new(str(tar)):
            return
        for found in members(tar, KINDS, self.passed):
            if found.problem is not None:
                self._pass(str(found.member), found.problem)
                continue
            folder = found.member.name.rpartition("/")[0]
            self._add(found.kind, found.member, folder.removeprefix("./"))

    def _file(self, path: str, kind: str | None, label: str) -> None:
        if kind not in KINDS:
            self.passed.add(path)
            return
        self._met += 1
        if self._is_new(path):
            self._add(kind, path, label)

    def _add(self, kind: str, file: Place | str, label: str) -> None:
        for each in KINDS:
            if each == kind:
                self.files[each].add(file, label)

    def _pass(self, path: str, error: VqtokError) -> None:
        self.passed.add(path)
        self._note(error)

    def _note(self, error: VqtokError) -> None:
        self.first = self.first or error
        self.unreached += 1
        if len(self.problems) < PROBLEMS:
            self.problems.append(str(error))

    def _is_new(self, path: str) -> bool:
        if not self._several:
            return True
        real = place_of(Path(path))
        if real in self._seen:
            return False
        self._seen.add(real)
        return True
