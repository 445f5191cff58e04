"""Arguments → the items of a corpus: every file and tar member, each with a name of its own.

A name is a relative POSIX path: the place under the directory argument, the member's name, or the
path as it was given, made relative. What cannot be read is an item too, with the problem, so that a
corpus tells what became of everything that was asked for. Standard library only.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from vqtok.errors import MediaError, UsageError, VqtokError, explained
from vqtok.media.inputs import STDIN, Input, expand, expanded, place_of
from vqtok.media.kinds import Kind, LeftOut, is_tar
from vqtok.media.opening import os_message
from vqtok.media.tars import Member, members, others

Place = Path | Member
"""Where the bytes of an item lie."""

DATASET = "hf-dataset:"
"""What an argument begins with that names a column of a saved data set."""

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
            ``with_beside`` finds them.
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
            if place.startswith(DATASET) and not path.exists():
                self.label = Path(place.rpartition("#")[0]).name
                self.items = _of_dataset(place, kinds)
            elif is_tar(path) and path.is_file():
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


def _of_dataset(place: str, kinds: Collection[Kind]) -> list[Item]:
    from vqtok.media import datasets

    return [
        Item(safe_name(name), kind, where, problem, () if text is None else (("txt", text),))
        for name, kind, where, text, problem in datasets.rows(place, kinds)
    ]


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


_SUFFIXES = {f".{kind}": kind for kind in ("cls", "json", "txt")}
"""Of captions, classes and JSON that lie beside media files."""


def with_beside(items: Sequence[Item]) -> list[Item]:
    """Find captions, classes and JSON that lie beside items; tars and folders are listed once.

    In a folder they share the file's stem: ``a.txt``. In a tar too, or the WebDataset key, which
    ends at the first dot of the name: ``a.left.png`` and ``a.right.png`` both have ``a.txt``.
    """
    listings: dict[Path, Mapping[str, Place]] = {}
    found = []
    for item in items:
        if item.problem is not None or item.beside:
            found.append(item)
            continue
        place = item.place
        home = place.tar if isinstance(place, Member) else place.parent
        if home not in listings:
            is_tar = isinstance(place, Member)
            listings[home] = dict(_names_in_tar(home) if is_tar else _names_in_folder(home))
        beside = listings[home]
        found.append(item._replace(beside=tuple(_beside(place, beside))) if beside else item)
    return found


def read_beside(place: Place, *, largest: int) -> bytes:
    """Read a small file that lies beside an item.

    Raises:
        MediaError: unreadable, no plain file, or too large.
    """
    try:
        if isinstance(place, Member):
            if place.size < 0:
                raise MediaError(place, "not a plain file")
            _check_size(place, place.size, largest)
            with place.open() as stream:
                data = stream.read()
            if len(data) != place.size:
                raise MediaError(place, "truncated")
            return data
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(place, flags), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise MediaError(place, "not a plain file")
            _check_size(place, status.st_size, largest)
            return stream.read(largest)
    except OSError as error:
        raise MediaError(place, f"cannot read: {os_message(error)}") from error


def _check_size(place: Place, size: int, largest: int) -> None:
    if size > largest:
        raise MediaError(place, f"{size} bytes: at most {largest} go along with an item")


def _beside(place: Place, beside: Mapping[str, Place]) -> Iterator[tuple[str, Place]]:
    name = place.name
    folder, _, last = name.rpartition("/")
    above = f"{folder}/" if folder else ""
    stems = [above + last.rpartition(".")[0]]
    if isinstance(place, Member):
        stems.append(above + last.partition(".")[0])
    for suffix, kind in _SUFFIXES.items():
        places = (beside[stem + suffix] for stem in stems if stem + suffix in beside)
        first = next(places, None)
        if first is not None:
            yield kind, first


def _names_in_tar(tar: Path) -> Iterator[tuple[str, Place]]:
    with suppress(MediaError):  # the media in it were listed before, what is wrong with it too
        for member in others(tar, _SUFFIXES):
            yield _lower(member.name), member


def _names_in_folder(folder: Path) -> Iterable[tuple[str, Place]]:
    try:
        with os.scandir(folder) as listing:
            names = [entry.name for entry in listing]
    except OSError:
        return
    for name in sorted(names):
        if os.path.splitext(name)[1].lower() in _SUFFIXES:  # noqa: PTH122  # a Path costs much more
            yield _lower(name), folder / name


def _lower(name: str) -> str:
    """Return a name whose suffix is in small letters."""
    stem, dot, suffix = name.rpartition(".")
    return stem + dot + suffix.lower()
