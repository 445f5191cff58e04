"""Format "bin": all tokens in one file that loaders map into memory, and an index beside it.

``tokens.bin`` is what ``np.memmap(path, dtype=uint16)`` reads (int32 where the ids need it, which
read as uint32 are the same): for every item and channel one sequence, BOS first, as
``vocabulary.py`` lays it out. ``tokens.idx`` is Megatron's index of it, version 1: a document is an
item, a sequence a channel. ``items.jsonl`` holds what decoding needs: names, headers, shapes.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vqtok.corpus import disk, items
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.format import Format, Staging
from vqtok.corpus.info import CorpusInfo, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.megatron import write_index
from vqtok.corpus.names import ITEMS, TOKENS
from vqtok.corpus.runs import LONGEST, Run, channels_of, item_of
from vqtok.corpus.vocabulary import Vocabulary
from vqtok.errors import CodesError, UsageError

OFFSETS = "tokens.idx"


class Bin(Format):
    """Appends the tokens of all items to one file."""

    name = "bin"
    growing = (TOKENS, ITEMS)
    derived = (OFFSETS,)

    def check(self, vocabulary: Vocabulary) -> None:
        """Refuse ids beyond int32."""
        if vocabulary.bos > np.iinfo(np.int32).max:
            raise UsageError(
                f"{vocabulary.bos} codes do not fit into the tokens of format bin",
                hint="choose another format",
            )

    def layout(self, vocabulary: Vocabulary) -> Mapping[str, Any]:
        """Return the type of the tokens, the id of BOS and the number of ids."""
        return {"bos": vocabulary.bos, "dtype": vocabulary.dtype, "vocabulary": vocabulary.bos + 1}

    def write(self, staging: Staging, shard: int, entries: Iterable[Entry]) -> list[ByteRange]:
        """Append a shard's sequences."""
        with staging.growing(TOKENS) as tokens, staging.growing(ITEMS) as listing:
            for entry in entries:
                tokens.write(staging.vocabulary.sequences(entry.codes).tobytes())
                shapes = [list(level.shape[1:]) for level in entry.codes.levels]
                line = {**items.short_label(entry, staging.spec), "shapes": shapes}
                listing.write(items.dump(line).encode() + b"\n")
        return [tokens.written, listing.written]

    def derive(self, staging: Staging) -> Iterator[ByteRange]:
        """Write Megatron's index from the listing."""
        channels, tokens = array("i"), array("i")  # of each document: of its sequences
        listing, size = staging.folder / ITEMS, staging.lengths.get(ITEMS, 0)
        try:
            for line in items.lines(listing, start=0, size=size):
                channels.append(line["channels"])
                tokens.append(1 + items.tokens(line["shapes"]))
        except (KeyError, TypeError, OverflowError) as error:
            raise CodesError(listing, f"damaged: {error}", hint="-f starts over") from error
        documents = np.asarray(channels, np.int64)
        lengths = np.repeat(np.asarray(tokens, "<i4"), documents)
        with staging.fresh(OFFSETS) as out:
            write_index(out, staging.vocabulary.dtype, lengths, documents)
        yield out.written

    def read(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Entry]:
        """Yield the items of a shard from its sequences."""
        held, listed = shard.ranges
        vocabulary = Vocabulary(info.spec)
        with disk.regular(folder / TOKENS) as stream:
            rest = held.bytes
            stream.seek(held.start)
            for line in items.lines(folder / ITEMS, start=listed.start, size=listed.bytes):
                try:
                    entry, used = _entry(stream, rest, line, vocabulary)
                except CodesError as error:
                    error.about(folder / TOKENS)
                    raise
                rest -= used
                yield entry
        if rest:
            raise CodesError(folder / TOKENS, f"{rest} bytes more than items")

    def runs(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Run]:
        """Yield the items of a shard from its sequences, those of one shape together."""
        held, listed = shard.ranges
        vocabulary = Vocabulary(info.spec)
        dtype = np.dtype(vocabulary.dtype).newbyteorder("<")
        lines = items.lines(folder / ITEMS, start=listed.start, size=listed.bytes)
        rest = held.bytes
        with disk.regular(folder / TOKENS) as stream:
            stream.seek(held.start)
            for (text, channels), group in groupby(lines, key=_kind):
                shapes = tuple(items.shapes(json.loads(text), info.spec))
                width = 1 + items.tokens(shapes)
                most = max(1, LONGEST // (width * channels))
                while labels := list(islice(group, most)):
                    size = len(labels) * channels * width * dtype.itemsize
                    rest -= size
                    if rest < 0:
                        raise CodesError(folder / TOKENS, "fewer tokens than its items promise")
                    sequences = np.frombuffer(stream.read(size), dtype).reshape(-1, width)
                    try:
                        flat = vocabulary.flat(sequences, shapes)
                        found = tuple(item_of(_bare(each), info.spec, shapes) for each in labels)
                    except CodesError as error:
                        error.about(folder / TOKENS)
                        raise
                    yield Run(shapes, channels, flat, found)
        if rest:
            raise CodesError(folder / TOKENS, f"{rest} bytes more than items")


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


def _kind(line: dict[str, Any]) -> tuple[str, int]:
    return json.dumps(line.get("shapes")), channels_of(line)


def _bare(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "shapes"}


FORMAT = Bin()
