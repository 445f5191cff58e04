"""The last steps of a corpus: what grew gets its name, the index comes last, the state goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vqtok.codes import rates
from vqtok.corpus import disk, flat, index, place
from vqtok.corpus.identity import Identity
from vqtok.corpus.info import CodebookUse, CorpusInfo, Extent
from vqtok.corpus.kinds import FAILED, HISTOGRAM, INDEX, ITEMS, OFFSETS, TOKENS
from vqtok.corpus.log import Log
from vqtok.corpus.place import Place
from vqtok.corpus.vocabulary import Histogram
from vqtok.errors import CodesError


def finish(where: Place, identity: Identity, log: Log, histogram: Histogram) -> CorpusInfo:
    """Take them; every one may be the last before the process is killed, and is then taken again.

    Args:
        where: Of the corpus, all of whose shards are committed.
        identity: Of the corpus.
        log: Its committed shards.
        histogram: Over all items.
    """
    sides = list(_sides(where, log, histogram))
    if where.format in ("files", "bin"):
        _publish(where, ITEMS)
    if where.format == "bin":
        _publish(where, TOKENS)
    info = _describe(where, identity, log, histogram, tuple(sides))
    text = index.to_text(info)
    disk.put(where.folder / INDEX, text.encode(), by_way_of=where.state / "new-index")
    disk.remove_tree(where.state)
    return info


def _sides(where: Place, log: Log, histogram: Histogram) -> Iterator[Extent]:
    if log.totals.failed:
        _publish(where, FAILED)
        size = where.lengths[FAILED]
        found = disk.digest(where.folder / FAILED, start=0, size=size)
        if found is None:
            raise CodesError(f"{where.folder / FAILED}: truncated", hint="-f starts over")
        yield Extent(FAILED, 0, size, found)
    counts = histogram.dense()
    if counts is not None:
        with where.fresh(HISTOGRAM) as out:
            little = counts.astype(counts.dtype.newbyteorder("<"))
            np.lib.format.write_array(_sink(out), little, version=(1, 0), allow_pickle=False)
        yield place.extent(HISTOGRAM, out)
    if where.format == "bin":
        with where.fresh(OFFSETS) as out:
            flat.write_index(where, out)
        yield place.extent(OFFSETS, out)


def _publish(where: Place, name: str) -> None:
    """Give a growing file its name, unless an earlier run came as far."""
    source, target = where.state / name, where.folder / name
    if not source.exists() and not target.exists():
        with where.growing(name):
            pass  # nothing grew: a corpus without items
    if source.exists():
        disk.move(source, target)
    found, expected = target.stat().st_size, where.lengths.get(name, 0)
    if found != expected:
        raise CodesError(
            f"{target}: {found} bytes found, {expected} expected", hint="-f starts over"
        )


def _describe(
    where: Place, identity: Identity, log: Log, histogram: Histogram, sides: tuple[Extent, ...]
) -> CorpusInfo:
    spec, totals = where.spec, log.totals
    counts = totals.codes or [0] * len(spec.levels)
    audio = spec.modality == "audio"
    return CorpusInfo(
        identity=identity,
        items=totals.items,
        failed=totals.failed,
        tokens=sum(counts),
        bits=rates.bits(spec.levels, counts),
        pixels=None if audio else totals.samples,
        seconds=totals.samples / spec.rate if audio and spec.rate else None,
        shards=tuple(log.shards),
        sides=sides,
        codebooks=tuple(_codebooks(where, histogram.counts)),
        layout=where.vocabulary.layout if where.format == "bin" else None,
    )


def _codebooks(where: Place, counts: np.ndarray | None) -> Iterator[CodebookUse]:
    if counts is None:
        return
    for book in where.vocabulary.books():
        own = counts[book.offset : book.offset + book.size]
        yield CodebookUse(
            level=book.level,
            stage=book.stage,
            offset=book.offset,
            size=book.size,
            codes=int(own.sum()),
            used=int(np.count_nonzero(own)),
        )


def _sink(out: disk.Output) -> Any:
    return out
