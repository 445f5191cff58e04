"""Arguments → the items of a corpus: every file and tar member, each with a name of its own.

A name is a relative POSIX path: the place under the directory argument, the member's name, or the
path as it was given, made relative. What cannot be read is an item too, with the problem, so that a
corpus tells what became of everything that was asked for. Standard library only.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from vqtok.errors import MediaError, UsageError, VqtokError, explained
from vqtok.media.inputs import STDIN, Input, expand, expanded, place_of
from vqtok.media.kinds import Kind, LeftOut, is_tar
from vqtok.media.tars import Member, members

Place = Path | Member
"""Where the bytes of an item lie."""

_SHOWN = 3
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Item(NamedTuple):
    """One thing to encode.

    Attributes:
        name: In the corpus: relative, with "/", unique.
        kind: What it holds; None if that is not known.
        place: Where it lies.
        problem: Why it cannot be encoded, or None.
        beside: (kind, place) of captions, classes and JSON that lie beside it, as
            ``beside.with_beside`` finds them.
    """

    name: str
    kind: Kind | None
    place: Place
    problem: VqtokError | None = None
    beside: tuple[tuple[str, Place], ...] = ()


def items_of(
    arguments: Sequence[str], kinds: Collection[Kind], *, left_out: LeftOut | None = None
) -> list[Item]:
    """Expand arguments as ``inputs_of`` does, and tars among them into their members.

    Items of several directories or tars that would have one name get their directory's or tar's
    name in front, all of them.

    Args:
        arguments: Files, directories, patterns, lists, tars.
        kinds: Kinds of files to take.
        left_out: Takes what lies in directories and tars and is of no such kind.

    Raises:
        UsageError: no arguments, standard input (it cannot be read again when the job goes on), a
            list that cannot be read, or two files that have one name all the same.
    """
    places = expanded(arguments)
    if STDIN in places:
        raise UsageError("-", "a corpus is made of files, to go on where it was stopped")
    seen: set[str] = set()
    passed = LeftOut() if left_out is None else left_out
    groups = [_Group(place, kinds, seen, passed) for place in places]
    if _collide(groups):
        for group in groups:
            group.prefix()
    _refuse_collisions(groups)
    return _distinct([item for group in groups for item in group.items])


def safe_name(text: str) -> str:
    """Makes a path as a relative POSIX name without "..", and of printable characters alone."""
    parts = [part for part in text.replace(os.sep, "/").split("/") if part not in ("", ".", "..")]
    clean = "/".join(parts) or "unnamed"
    if clean.isprintable() and "\\" not in clean:
        return clean
    return "".join(c if c.isprintable() and c != "\\" else _UNKNOWN for c in clean)


class _Group:
    """What one argument stands for; ``label`` tells it from others that hold the same names."""

    def __init__(
        self, place: str, kinds: Collection[Kind], seen: set[str], left_out: LeftOut
    ) -> None:
        path = Path(place)
        self.label = ""
        failures: list[tuple[str, VqtokError]] = []
        self.items: list[Item] = []
        try:
            if is_tar(path) and path.is_file():
                self.label = path.stem
                new = _is_new(path, seen)
                self.items = _of_tar(path, kinds, failures, left_out) if new else []
            else:
                self.label = path.resolve().name if path.is_dir() else ""
                self.items = _of_files(place, kinds, failures, seen, left_out)
        except UsageError:
            raise
        except (VqtokError, OSError) as error:
            failures.append((place, explained(error, place)))
        self.items += [Item(safe_name(name), None, Path(name), error) for name, error in failures]

    def prefix(self) -> None:
        """Put the label in front of every name."""
        if self.label:
            label = safe_name(self.label)
            self.items = [item._replace(name=f"{label}/{item.name}") for item in self.items]


def _of_files(
    place: str,
    kinds: Collection[Kind],
    failures: list[tuple[str, VqtokError]],
    seen: set[str],
    left_out: LeftOut,
) -> list[Item]:
    return [
        Item(_name(each), each.kind, each.path)
        for each in expand(place, kinds, failures, left_out)
        if each.path is not None and _is_new(each.path, seen)
    ]


def _name(found: Input) -> str:
    path, root = str(found.path), found.root
    if root is None:
        return safe_name(path)
    start = str(root)
    # "." as a root leaves no trace in the paths below it.
    return safe_name(path[len(start) :] if path.startswith(start + os.sep) else path)


def _of_tar(
    tar: Path,
    kinds: Collection[Kind],
    failures: list[tuple[str, VqtokError]],
    left_out: LeftOut,
) -> list[Item]:
    items: list[Item] = []
    names: set[str] = set()
    try:
        for member, kind, problem in members(tar, kinds, left_out):
            name = safe_name(member.name)
            error: MediaError | None = problem
            if error is None and name in names:
                error = MediaError(member, "the tar holds another file of this name")
            elif error is None:
                names.add(name)
            items.append(Item(name, kind, member, error))
    except MediaError as error:
        failures.append((str(tar), error))
    if not items and not failures:
        wanted = " or ".join(sorted(kinds, reverse=True))
        failures.append((str(tar), MediaError(tar, f"no {wanted} files in this tar")))
    return items


def _is_new(path: Path, seen: set[str]) -> bool:
    place = place_of(path)
    if place in seen:
        return False
    seen.add(place)
    return True


def _collide(groups: Sequence[_Group]) -> bool:
    names: set[str] = set()
    count = 0
    for group in groups:
        for item in group.items:
            if item.problem is None:
                count += 1
                names.add(item.name)
    return len(names) < count


def _refuse_collisions(groups: Sequence[_Group]) -> None:
    if not _collide(groups):
        return
    sound = [item for group in groups for item in group.items if item.problem is None]
    counts = Counter(item.name for item in sound)
    name = next(item.name for item in sound if counts[item.name] > 1)
    both = [str(item.place) for item in sound if item.name == name]
    more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
    raise UsageError(
        name,
        f"{', '.join(both[:_SHOWN])}{more} would have this one name in the corpus",
        hint="name a directory above them",
    )


def _distinct(items: list[Item]) -> list[Item]:
    """Failures give way to files of the same name, and to each other."""
    taken = {item.name for item in items if item.problem is None}
    counts: Counter[str] = Counter()
    made = []
    for item in items:
        name = item.name
        while item.problem is not None and name in taken:
            counts[item.name] += 1
            name = f"{item.name}~{counts[item.name] + 1}"
        taken.add(name)
        made.append(item if name == item.name else item._replace(name=name))
    return made
