"""Captions, classes and JSON that lie beside media files: ``a.txt``, ``a.cls``, ``a.json``.

In a folder they share the file's stem. In a tar too, or the WebDataset key, which ends at the first
dot of the name: ``a.left.png`` and ``a.right.png`` both have ``a.txt``. Standard library only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from vqtok.errors import MediaError
from vqtok.media.items import Item, Place
from vqtok.media.opening import os_message
from vqtok.media.tars import Member, others

KINDS = ("cls", "json", "txt")
_SUFFIXES = {f".{kind}": kind for kind in KINDS}


def with_beside(items: Sequence[Item]) -> list[Item]:
    """Find what lies beside each item; tars and folders are listed once."""
    listings: dict[Path, Mapping[str, Place]] = {}
    found = []
    for item in items:
        if item.problem is not None:
            found.append(item)
            continue
        place = item.place
        home = place.tar if isinstance(place, Member) else place.parent
        if home not in listings:
            is_tar = isinstance(place, Member)
            listings[home] = dict(_of_tar(home) if is_tar else _of_folder(home))
        beside = listings[home]
        found.append(item._replace(beside=tuple(_of_item(place, beside))) if beside else item)
    return found


def read(place: Place, *, largest: int) -> bytes:
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


def _of_item(place: Place, beside: Mapping[str, Place]) -> Iterator[tuple[str, Place]]:
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


def _of_tar(tar: Path) -> Iterator[tuple[str, Place]]:
    with suppress(MediaError):  # the media in it were listed before, and what is wrong with it told
        for member in others(tar, _SUFFIXES):
            yield _lower(member.name), member


def _of_folder(folder: Path) -> Iterable[tuple[str, Place]]:
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
