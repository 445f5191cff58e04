"""The directories of a TIFF: pages, each a table of tags."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

MOST_PAGES = 100_000
_MOST_TAGS = 4096

# Type of a field → its struct code; 5 and 10 are pairs.
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii"}
_TYPES |= {11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}

SUBFILE, DESCRIPTION = 254, 270
WANTED = frozenset(
    (
        *(SUBFILE, *range(256, 260), 262, 266, DESCRIPTION, 273, 274, 277, 278, 279, 284, 292, 293),
        *(317, 320, *range(322, 326), 332, 338, 339, 529, 530, 532, 32997),
    )
)
"""Tags that say something about the samples."""

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""


@dataclass(frozen=True)
class Page:
    """One picture of the file.

    Attributes:
        order: "<" or ">", as ``struct`` writes it.
        tags: Number → values; bytes for text and undefined data.
        index: Among all of the file's pages.
    """

    order: Literal["<", ">"]
    tags: Mapping[int, Any]
    index: int

    def many(self, tag: int) -> tuple[Any, ...]:
        """Values of a tag; () if it is not there."""
        found = self.tags.get(tag, ())
        return found if isinstance(found, tuple) else (found,)

    def one(self, tag: int, default: int = 0) -> int:
        """First value of a tag that holds a whole number."""
        found = self.many(tag)
        return int(found[0]) if found and not isinstance(found[0], bytes) else default


def pages(stream: BinaryIO) -> tuple[Page, int]:
    """Find the first page that is a picture in full size, and count those.

    Raises:
        ValueError: damaged.
    """
    reader = _Reader(stream)
    count, chosen, first = 0, None, None
    seen: set[int] = set()
    at = reader.first
    while at and at not in seen and len(seen) < MOST_PAGES:
        try:
            entries, following = reader.directory(at)
        except ValueError:
            if first is None:
                raise
            break  # what lies behind the pages is of no matter to the first
        kind = reader.page(entries, len(seen), (SUBFILE,)).one(SUBFILE)
        if first is None or (chosen is None and not kind & (_REDUCED | _MASK)):
            page = reader.page(entries, len(seen))
            first = first or page
            chosen = None if kind & (_REDUCED | _MASK) else page
        count += not kind & (_REDUCED | _MASK)
        seen.add(at)
        at = following
    if first is None:
        raise ValueError("no page")
    page = chosen or first
    return page, max(count, _of_imagej(page), 1)


def _of_imagej(page: Page) -> int:
    """ImageJ writes stacks of more than 4 GB as one page, and how many there are as text."""
    text = page.tags.get(DESCRIPTION, b"")
    if not isinstance(text, bytes) or not text.startswith(b"ImageJ="):
        return 1
    counts = (line[7:] for line in text.splitlines() if line.startswith(b"images="))
    return next((int(each) for each in counts if each.isdigit() and len(each) < 10), 1)


class _Reader:
    """Reads directories; nothing is read that the file is too short for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, os.SEEK_END)
        head = self._bytes(0, 4)
        self.order: Literal["<", ">"] = ">" if head[:2] == b"MM" else "<"
        self._big = struct.unpack(f"{self.order}H", head[2:])[0] == 43
        # 43 is followed by the size of an offset, 8, and by 0
        self.first = self._number("Q", 8) if self._big else self._number("I", 4)

    def directory(self, at: int) -> tuple[bytes, int]:
        """Returns the entries of the directory there, and where the next one is, or 0."""
        head, count = (8, self._number("Q", at)) if self._big else (2, self._number("H", at))
        if not 0 < count <= _MOST_TAGS:
            raise ValueError(f"a page of {count} tags")
        size = count * (20 if self._big else 12)
        entries = self._bytes(at + head, size)
        try:
            return entries, self._number("Q" if self._big else "I", at + head + size)
        except ValueError:  # the last page of some writers ends the file
            return entries, 0

    def page(self, entries: bytes, index: int, tags: Collection[int] = WANTED) -> Page:
        """Reads tags of a directory; others may hold anything, of any size."""
        step, form = (20, "HHQ") if self._big else (12, "HHI")
        found = {}
        for start in range(0, len(entries), step):
            tag, kind, count = struct.unpack_from(f"{self.order}{form}", entries, start)
            if tag in tags and kind in _TYPES:
                inline = entries[start + step - (8 if self._big else 4) : start + step]
                found[tag] = self._values(_TYPES[kind], count, inline)
        return Page(self.order, found, index)

    def _values(self, code: str, count: int, inline: bytes) -> Any:
        form = struct.Struct(f"{self.order}{code}")
        size = form.size * count
        data = inline[:size]
        if size > len(inline):
            data = self._bytes(
                struct.unpack(f"{self.order}{'Q' if self._big else 'I'}", inline)[0], size
            )
        if code == "s":
            return data
        values = struct.unpack(f"{self.order}{count * len(code)}{code[0]}", data)
        if len(code) == 1:
            return values
        pairs = zip(values[::2], values[1::2], strict=True)
        return tuple(above / below if below else 0.0 for above, below in pairs)

    def _number(self, code: str, at: int) -> int:
        size = struct.calcsize(f"={code}")
        return int(struct.unpack(f"{self.order}{code}", self._bytes(at, size))[0])

    def _bytes(self, at: int, size: int) -> bytes:
        if at + size > self._size:
            raise ValueError(f"it ends at byte {self._size}, before a tag that begins at {at}")
        self._stream.seek(at)
        return self._stream.read(size)
