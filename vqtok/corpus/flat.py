"""Format "bin": all tokens in one file that loaders map into memory, and an index beside it.

``tokens.bin`` is what ``np.memmap(path, dtype=uint16)`` reads (int32 where the ids need it, which
read as uint32 are the same): for every item and channel one sequence, BOS first, as
``vocabulary.py`` lays it out. ``tokens.idx`` is Megatron's index of it, version 1: a document is an
item, a sequence a channel. ``items.jsonl`` holds what decoding needs: names, headers, shapes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vqtok.corpus import disk, items, place
from vqtok.corpus.info import CorpusInfo, Extent, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.kinds import ITEMS, TOKENS
from vqtok.corpus.place import Place
from vqtok.corpus.vocabulary import Vocabulary
from vqtok.errors import CodesError

LENGTHS, CHANNELS = "lengths.i32", "channels.i32"
"""Growing files of the state: tokens of each sequence, sequences of each document."""

LONGEST = (1 << 31) - 1
"""Tokens in a sequence: the index holds lengths as int32."""

_MAGIC = b"MMIDIDX\x00\x00"
_CODES = {"int32": 4, "uint16": 8}
"""The index' own numbers for types."""
_CHUNK = 1 << 17


def compose(where: Place, shard: int, entries: Iterable[Entry]) -> list[Extent]:
    """Append a shard's sequences."""
    starts = {name: where.lengths.get(name, 0) for name in (TOKENS, ITEMS)}
    with (
        where.growing(TOKENS) as tokens,
        where.growing(ITEMS) as listing,
        where.growing(LENGTHS) as lengths,
        where.growing(CHANNELS) as channels,
    ):
        for entry in entries:
            sequences = where.vocabulary.sequences(entry.codes)
            tokens.write(sequences.tobytes())
            lengths.write(np.full(len(sequences), sequences.shape[1], "<i4").tobytes())
            channels.write(struct.pack("<i", len(sequences)))
            shapes = [list(array.shape[1:]) for array in entry.codes.levels]
            line = {**items.short_label(entry, where.spec), "shapes": shapes}
            listing.write(items.dump(line).encode() + b"\n")
    return [
        place.extent(TOKENS, tokens, start=starts[TOKENS]),
        place.extent(ITEMS, listing, start=starts[ITEMS]),
    ]


def write_index(where: Place, out: disk.Output) -> None:
    """Write ``tokens.idx`` from the growing files, a piece at a time."""
    dtype = where.vocabulary.dtype
    sequences, documents = (where.lengths.get(name, 0) // 4 for name in (LENGTHS, CHANNELS))
    out.write(_MAGIC + struct.pack("<QBQQ", 1, _CODES[dtype], sequences, documents + 1))
    for piece in _pieces(where.state / LENGTHS, 4 * sequences):
        out.write(piece.astype("<i4").tobytes())
    for piece in _sums(where.state / LENGTHS, 4 * sequences):
        out.write((piece[:-1] * np.dtype(dtype).itemsize).astype("<i8").tobytes())
    out.write(struct.pack("<q", 0))
    for piece in _sums(where.state / CHANNELS, 4 * documents):
        out.write(piece[1:].astype("<i8").tobytes())


def read(folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Entry]:
    """Read a shard's sequences, its bytes being checked already."""
    tokens, listed = shard.extents
    vocabulary = Vocabulary(info.spec)
    with disk.regular(folder / TOKENS) as stream, disk.regular(folder / ITEMS) as listing:
        rest = tokens.bytes
        stream.seek(tokens.start)
        for line in items.lines(listing, start=listed.start, size=listed.bytes):
            try:
                entry, used = _entry(stream, rest, line, vocabulary)
            except CodesError as error:
                raise CodesError(f"{folder / TOKENS}: {error}", hint=error.hint) from error
            rest -= used
            yield entry
        if rest:
            raise CodesError(f"{folder / TOKENS}: {rest} bytes more than items")


def _entry(
    stream: BinaryIO, rest: int, line: dict[str, object], vocabulary: Vocabulary
) -> tuple[Entry, int]:
    label = items.read_label(line, vocabulary.spec)
    shapes = items.shapes(line.get("shapes"), label.header.spec)
    dtype = np.dtype(vocabulary.dtype).newbyteorder("<")
    shape = (label.header.channels, 1 + items.tokens(shapes))
    used = shape[0] * shape[1] * dtype.itemsize
    if used > rest:
        raise CodesError("fewer tokens than its items promise")
    sequences = np.frombuffer(stream.read(used), dtype).reshape(shape)
    codes = vocabulary.codes(sequences, shapes, spec=label.header.spec, extent=label.header.extent)
    return Entry(label.number, label.name, codes, label.header), used


def _pieces(path: Path, size: int) -> Iterator[np.ndarray]:
    if not size:
        return
    with disk.regular(path) as stream:
        if os.fstat(stream.fileno()).st_size < size:
            raise CodesError(f"{path}: truncated")
        while size:
            data = stream.read(min(4 * _CHUNK, size))
            size -= len(data)
            yield np.frombuffer(data, "<i4")


def _sums(path: Path, size: int) -> Iterator[np.ndarray]:
    """Running sums of pieces of n numbers: n + 1 of them, beginning where the last piece ended."""
    total = 0
    for piece in _pieces(path, size):
        sums = np.concatenate([[total], total + np.cumsum(piece, dtype=np.int64)])
        total = int(sums[-1])
        yield sums
