"""``index.json``: read, compared with the job that is wanted, and written last.

Its presence means that the corpus is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from vqtok.codes import rates
from vqtok.corpus import disk, items
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.format import Format, Staging, named
from vqtok.corpus.info import CodebookUse, CorpusInfo, Identity, ShardInfo
from vqtok.corpus.items import checking
from vqtok.corpus.log import Log, Totals
from vqtok.corpus.names import FAILED, HISTOGRAM, INDEX, STATE
from vqtok.corpus.vocabulary import COUNTED, Book, Histogram, Vocabulary
from vqtok.errors import CodesError, UsageError

JOB = f"{STATE}/job.json"
"""The identity of an unfinished corpus."""

_LARGEST = 1 << 28  # bytes: the index of a hundred million items


def read(folder: Path) -> CorpusInfo:
    """Read a complete corpus' index.

    Raises:
        CodesError: not a corpus, unfinished, damaged, or of a newer version.
    """
    try:
        info = CorpusInfo.from_json(read_json(folder / INDEX))
        with checking():
            _check(info)
        return info
    except FileNotFoundError as error:
        if is_corpus(folder):
            raise CodesError(
                folder, "unfinished corpus", hint="run the command that makes it again"
            ) from error
        raise CodesError(folder, f"not a corpus: it has no {INDEX}") from error
    except OSError as error:
        raise CodesError(folder, f"cannot read: {error.strerror}") from error
    except CodesError as error:
        error.about(folder / INDEX)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object, of bounded size.

    Raises:
        CodesError: too long, or something else.
        OSError: missing or unreadable.
    """
    with disk.regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        text = stream.read(min(size, _LARGEST))
    return items.load(text if size <= _LARGEST else "")


def is_corpus(folder: Path) -> bool:
    """Tell whether a folder holds a corpus, complete or unfinished."""
    for path in (folder / INDEX, folder / JOB):
        try:
            if "corpus" in read_json(path):
                return True
        except (OSError, CodesError):
            continue
    return False


def identity_of(folder: Path) -> Identity | None:
    """Return the identity of a corpus, complete or unfinished; None if there is none."""
    for path in (folder / INDEX, folder / JOB):
        try:
            return Identity.from_json(read_json(path))
        except (OSError, CodesError):
            continue
    return None


def to_text(info: CorpusInfo) -> str:
    """Return the text of ``index.json``."""
    return json.dumps(info.to_json(), sort_keys=True, indent=1, allow_nan=False) + "\n"


def _check(info: CorpusInfo) -> None:
    own, known = info.identity, named(info.format)
    if len(info.shards) != own.shards or info.items + info.failed != own.count:
        raise ValueError("its counts are at odds")
    for number, (shard, (first, whole)) in enumerate(zip(info.shards, own.spans(), strict=True)):
        if shard.first != first or shard.count != whole or shard.failed > whole:
            raise ValueError(f"shard {number} is at odds with the others")
        if [each.path for each in shard.ranges] != known.shard_files(number):
            raise ValueError(f"shard {number} lies in other files than its format has")
    if sum(shard.failed for shard in info.shards) != info.failed:
        raise ValueError("its failures are at odds")
    if not set(own.carry) <= set(known.carries) or not set(info.carried) <= set(own.carry):
        raise ValueError("it carries what its format cannot hold")
    if not {each.path for each in info.sides} <= {FAILED, HISTOGRAM, *known.derived}:
        raise ValueError("a side file that no corpus has")
    vocabulary = Vocabulary(own.spec)
    if info.layout != known.layout(vocabulary):
        raise ValueError("its layout is not that of its codes")
    # Their number first: a spec of few bytes may have millions.
    counted = len(vocabulary) if vocabulary.bos <= COUNTED else 0
    found = [Book(use.level, use.stage, use.offset, use.size) for use in info.codebooks]
    if len(found) != counted or (counted and found != vocabulary.books()):
        raise ValueError("its codebooks are not those of its codes")


_CALLED = {"count": "number of items", "shard_items": "shard size", "max_pixels": "max pixels"}
_NOT_SHOWN = ("spec", "names", "parts", "corpus")
"""What has no value that a person could compare."""


def compare(
    folder: Path, found: Identity, wanted: Identity, *, grows: bool = False, hint: str = ""
) -> None:
    """Refuse to go on with a corpus of another job.

    Args:
        folder: Of the corpus.
        found: What it is.
        wanted: What it should be.
        grows: Items may be added to it: their names and number do not count.
        hint: How to go on nevertheless; "": by starting over.

    Raises:
        UsageError: saying what was set otherwise, and how.
    """
    theirs, ours = found.to_json(), wanted.to_json()
    if grows:
        for each in (theirs, ours):
            for key in ("count", "names", "parts", "corpus"):
                each.pop(key, None)
    if theirs == ours:
        return
    what = ", ".join(_differences(theirs, ours))
    if not grows and _only_names(theirs, ours):
        hint = hint or "--append adds what is new; -f deletes it and starts over"
    raise UsageError(
        folder,
        f"holds a corpus of another job ({what})",
        hint=hint or "-f deletes it and starts over; or choose another folder",
    )


def _only_names(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    keys = {*theirs, *ours} - {"count", "names", "parts", "corpus"}
    return all(theirs.get(key) == ours.get(key) for key in keys)


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """Yield "shard size 30, now 1000" for each setting that differs."""
    before, now = (
        each | {f"job {key}": value for key, value in each["job"].items()}
        for each in (theirs, ours)
    )
    keys = sorted({*before, *now} - {"job"}, key=lambda key: (key in _NOT_SHOWN, key))
    shown = False
    for key in keys:
        if before.get(key) == now.get(key):
            continue
        name = key.removeprefix("job ")
        if key not in _NOT_SHOWN:
            shown = True
            yield f"{_CALLED.get(name, name)} {_text(before.get(key))}, now {_text(now.get(key))}"
        elif key == "spec" or (key == "names" and before["count"] == now["count"]):
            shown = True
            yield f"other {key}"
    if not shown:
        yield "items of several runs"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


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
    text = to_text(info).encode()
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
