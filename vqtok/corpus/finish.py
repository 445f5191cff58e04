"""The last steps of a corpus: what grew gets its name, the index comes last, the state goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from vqtok.codes import rates
from vqtok.corpus import disk, index
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.format import Format
from vqtok.corpus.info import CodebookUse, CorpusInfo, Identity, ShardInfo
from vqtok.corpus.log import Log, Totals
from vqtok.corpus.names import FAILED, HISTOGRAM, INDEX
from vqtok.corpus.staging import Staging
from vqtok.corpus.vocabulary import Histogram, Vocabulary


def finish(
    staging: Staging, format: Format, identity: Identity, log: Log, histogram: Histogram
) -> CorpusInfo:
    """Complete a corpus; each step may be the last before a kill, and is then taken again.

    Args:
        staging: Of the corpus, all of whose shards are committed.
        format: Of the corpus.
        identity: Of the corpus.
        log: Its committed shards.
        histogram: Over all items.
    """
    # A corpus that grows has one already; what it describes is replaced from here on.
    disk.remove(staging.folder / INDEX)
    for name in format.growing:
        staging.publish(name)
    sides = (*_sides(staging, log, histogram), *format.derive(staging))
    info = summed(identity, log.totals, log.shards, sides, format, histogram)
    text = index.to_text(info).encode()
    disk.put(staging.folder / INDEX, text, by_way_of=staging.state / "new-index")
    disk.remove_tree(staging.state)
    return info


def summed(
    identity: Identity,
    totals: Totals,
    shards: Sequence[ShardInfo],
    sides: Sequence[ByteRange],
    format: Format,
    histogram: Histogram,
) -> CorpusInfo:
    """Sum up a corpus: what its index says."""
    spec, vocabulary = identity.spec, Vocabulary(identity.spec)
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
        shards=tuple(shards),
        sides=tuple(sides),
        codebooks=tuple(_codebooks(vocabulary, histogram.counts)),
        layout=format.layout(vocabulary),
        carried={kind: totals.carried.get(kind, 0) for kind in identity.carry},
    )


def _sides(staging: Staging, log: Log, histogram: Histogram) -> Iterator[ByteRange]:
    if log.totals.failed:
        staging.publish(FAILED)
        yield disk.measure(staging.folder, FAILED, size=staging.lengths[FAILED])
    counts = histogram.dense()
    if counts is not None:
        with staging.fresh(HISTOGRAM) as out:
            little = counts.astype(counts.dtype.newbyteorder("<"))
            np.lib.format.write_array(cast(Any, out), little, version=(1, 0), allow_pickle=False)
        yield out.written


def _codebooks(vocabulary: Vocabulary, counts: np.ndarray | None) -> Iterator[CodebookUse]:
    if counts is None:
        return
    for book in vocabulary.books():
        own = counts[book.offset : book.offset + book.size]
        codes, used = int(own.sum()), int(np.count_nonzero(own))
        yield CodebookUse(**vars(book), codes=codes, used=used)
