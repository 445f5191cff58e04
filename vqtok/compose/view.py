"""Documents that are composed already, in any order, cut or packed into sequences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from vqtok import regular
from vqtok.errors import CodesError


class Starting(NamedTuple):
    """Names a document that begins in a sequence.

    Attributes:
        start: Position in the sequence.
        line: Of the listing, with its end of line.
    """

    start: int
    line: bytes


class Sequence(NamedTuple):
    """Holds what a model is given at once.

    Attributes:
        ids: (n,) token ids, little-endian.
        documents: That begin in it.
    """

    ids: np.ndarray
    documents: list[Starting]


class View:
    """Reads documents from the files that they were appended to; few are in memory at a time.

    Args:
        tokens: File of all token ids.
        listing: File of their lines.
        sizes: (n, 2) integers: tokens, and bytes of the line, of each document.
        dtype: Of the token ids.
    """

    def __init__(self, tokens: Path, listing: Path, sizes: np.ndarray, dtype: str) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._files = [regular.opened(path) for path in (tokens, listing)]
        self.sizes = sizes
        self._starts = np.zeros((len(sizes) + 1, 2), np.int64)
        np.cumsum(sizes, axis=0, out=self._starts[1:])

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def __len__(self) -> int:
        """Count the documents."""
        return len(self.sizes)

    def sequences(self, numbers: Iterable[int], pack: int | None) -> Iterator[Sequence]:
        """Yield documents in this order.

        Args:
            numbers: Of the documents.
            pack: Length of a sequence: documents follow each other and are cut where one is full;
                the last is shorter. None: each document is a sequence.
        """
        if pack is None:
            for number in numbers:
                ids, line = self._document(number)
                yield Sequence(ids, [Starting(0, line)])
            return
        waiting: list[np.ndarray] = []
        found: list[Starting] = []
        length = 0
        for number in numbers:
            ids, line = self._document(number)
            found.append(Starting(length, line))
            waiting.append(ids)
            length += len(ids)
            if length < pack:
                continue
            whole = np.concatenate(waiting)
            begin = 0
            while length - begin >= pack:
                inside = [each for each in found if each.start < begin + pack]
                found = found[len(inside) :]
                own = [Starting(each.start - begin, each.line) for each in inside]
                yield Sequence(whole[begin : begin + pack], own)
                begin += pack
            waiting, length = [whole[begin:]], length - begin
            found = [Starting(each.start - begin, each.line) for each in found]
        if length:
            yield Sequence(np.concatenate(waiting), found)

    def _document(self, number: int) -> tuple[np.ndarray, bytes]:
        (token, byte), (tokens, size) = self._starts[number].tolist(), self.sizes[number].tolist()
        width = self._dtype.itemsize
        data, line = (
            _part(file, start, count)
            for file, start, count in zip(
                self._files, (token * width, byte), (tokens * width, size), strict=True
            )
        )
        if len(data) != tokens * width or len(line) != size:
            raise CodesError("damaged: documents are cut", hint="-f starts over")
        return np.frombuffer(data, self._dtype), line


def _part(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
