"""Writing a corpus so that the process may be killed at any moment."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec
from vqtok.corpus import disk, finish, flat, items, spool, start, table, tar, tree
from vqtok.corpus.info import CorpusInfo, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.kinds import FAILED, FORMATS
from vqtok.corpus.lock import Lock
from vqtok.corpus.log import Log
from vqtok.corpus.names import Keys
from vqtok.corpus.place import Place
from vqtok.corpus.vocabulary import Histogram, Vocabulary, fits
from vqtok.errors import CodesError, UsageError

_COMPOSE = {
    "files": tree.compose,
    "tar": tar.compose,
    "bin": flat.compose,
    "parquet": table.compose,
    "arrow": table.compose,
}
_SUFFIXES = {"files": (tree.SUFFIX,), "tar": tar.SUFFIXES}
_SYNC_S = 1.0


class CorpusWriter:
    """A corpus being written, or resumed. A context manager; use it from one thread.

    ::

        with CorpusWriter(folder, format="tar", names=names, spec=spec, job=job) as corpus:
            for number in corpus.pending():
                corpus.add(number, *encode(names[number]))
            corpus.finish()

    Args:
        folder: Made if missing. Empty, or holding a corpus.
        format: One of ``FORMATS``.
        names: One unique relative POSIX name per item in corpus order ("cats/1.png"). Read again
            and again, not copied.
        spec: Of the codes, signed. Where codes were truncated, its depth may be the depth kept.
        job: JSON identity of what is done (model name, fingerprint, options); "model" is shown.
        shard_items: Items in a shard; also how many results wait in a spool.
        restart: Start over, deleting what the corpus in the folder owns and nothing else.

    Attributes:
        complete: An earlier run finished this very job.

    Raises:
        UsageError: an unknown format or an extra not installed; names that are not unique and
            relative; a folder that holds another job or things that are no corpus; a corpus that
            another process is writing.
        CodesError: the folder cannot be written, or what it holds is damaged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        format: str,
        names: Sequence[str],
        spec: CodeSpec,
        job: Mapping[str, Any],
        shard_items: int = 1000,
        restart: bool = False,
    ) -> None:
        vocabulary = _check(format, spec, shard_items)
        suffixes = _SUFFIXES.get(format, ())
        keys = Keys(names, dots=format != "tar", suffixes=suffixes)
        self._names = names
        self._identity = start.identity(format, names, spec, job, shard_items)
        self._place = Place(folder, format, spec, vocabulary, keys)
        self._histogram = Histogram(vocabulary)
        self._done = bytearray(len(names))
        self._spools = spool.Spools(self._place.state)
        self._synced = time.monotonic()
        self._broken = False
        with self._telling():
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(folder)
            try:
                self._info = start.prepare(self._place, self._identity, names, restart=restart)
                self.complete = self._info is not None
                if not self.complete:
                    self._resume()
            except BaseException:
                self._release(sync=False)
                raise

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def pending(self) -> Iterator[int]:
        """Numbers of the items without a result, ascending; results may be added meanwhile."""
        number = -1 if not self.complete else len(self._done)
        while (number := self._done.find(0, number + 1)) >= 0:
            yield number

    def add(self, number: int, codes: Codes, header: Header) -> None:
        """Record an item's codes, in any order.

        They survive the process when this returns, and a power cut about a second later. A second
        result for an item is ignored: the first stands.

        Raises:
            CodesError: codes out of range, at odds with the header or of another spec than the
                corpus, or too many for the format (then nothing is recorded); or the disk is full.
        """
        whole = io.BytesIO()
        files.write(whole, codes, header, format="safetensors")
        self._check_item(codes)
        self._record(number, spool.CODES, whole.getvalue())

    def fail(self, number: int, reason: str) -> None:
        """Record that an item has no codes; it is absent from the shards, not retried on resuming.

        Args:
            number: Of the item.
            reason: One line for ``failed.jsonl``.
        """
        self._record(number, spool.FAILURE, items.dump({"reason": reason}).encode())

    def finish(self) -> CorpusInfo:
        """Write what is left and, last, ``index.json``.

        Raises:
            CodesError: an item has no result yet, or the disk is full.
        """
        if self._info is not None:
            return self._info
        missing = self._done.count(0)
        if missing:
            raise CodesError(f"{self._place.folder}: {missing} items have no result yet")
        with self._telling():
            self._info = finish.finish(self._place, self._identity, self._log, self._histogram)
        self.complete = True
        return self._info

    def close(self) -> None:
        """Put what was recorded on disk and let others write; called on leaving the block."""
        with self._telling():
            self._release(sync=not self.complete)

    def _resume(self) -> None:
        self._log = Log(self._place.state)
        start.check(self._place, self._log)
        self._log.restore(self._histogram)
        self._place.lengths = self._log.lengths
        size = self._identity.shard_items
        committed = len(self._log.shards) * size
        self._done[:committed] = b"\1" * len(self._done[:committed])
        self._missing = [self._count(shard) for shard in range(self._identity.shards)]
        for shard in range(self._identity.shards):
            if shard < len(self._log.shards):
                self._missing[shard] = 0
                disk.remove(self._spools.path(shard))
                continue
            records, whole = spool.scan(
                self._spools.path(shard), first=shard * size, count=self._count(shard)
            )
            spool.cut(self._spools.path(shard), whole)
            for record in records:
                self._done[record.number] = 1
            self._missing[shard] -= len(records)
        self._compose_ready()

    def _record(self, number: int, kind: int, payload: bytes) -> None:
        if not 0 <= number < len(self._done):
            raise IndexError(f"item {number} of {len(self._done)}")
        if self._broken:
            raise CodesError(f"{self._place.folder}: writing failed before: run the command again")
        if self.complete or self._done[number]:
            return
        shard = number // self._identity.shard_items
        with self._telling():
            self._spools.append(shard, spool.pack(number, kind, payload))
            self._done[number] = 1
            self._missing[shard] -= 1
            if time.monotonic() - self._synced >= _SYNC_S:
                self._spools.sync()
                self._synced = time.monotonic()
            self._compose_ready()

    def _compose_ready(self) -> None:
        while (shard := len(self._log.shards)) < len(self._missing) and not self._missing[shard]:
            # Until the shard is committed, sums and lengths in memory run ahead of the disk.
            self._broken = True
            self._compose(shard)
            self._broken = False

    def _compose(self, shard: int) -> None:
        place, first = self._place, shard * self._identity.shard_items
        path, count = self._spools.path(shard), self._count(shard)
        records, _ = spool.scan(path, first=first, count=count)
        if len(records) != count:
            raise CodesError(f"{path}: damaged: run the command again")
        failed = self._log.totals.failed
        with disk.regular(path) as stream, place.growing(FAILED) as failures:
            entries = self._entries(stream, records, failures)
            extents = _COMPOSE[place.format](place, shard, entries)
        failed = self._log.totals.failed - failed
        info = ShardInfo(first, count, failed, tuple(extents))
        self._log.commit(info, place.lengths, self._log.totals, self._histogram)
        self._spools.remove(shard)

    def _entries(
        self, stream: Any, records: list[spool.Record], failures: disk.Output
    ) -> Iterator[Entry]:
        totals = self._log.totals
        for record in records:
            name, payload = self._names[record.number], spool.payload(stream, record)
            if record.kind == spool.FAILURE:
                reason = items.load(payload).get("reason")
                failures.write(items.dump({"name": name, "reason": reason}).encode() + b"\n")
                totals.failed += 1
                continue
            codes, header = files.read(io.BytesIO(payload))
            totals.add(codes)
            self._histogram.add(codes)
            yield Entry(record.number, name, codes, header)

    def _check_item(self, codes: Codes) -> None:
        place = self._place
        if not fits(codes.spec, place.spec):
            raise CodesError("codes of another model than the corpus")
        for level, array in zip(place.spec.levels, codes.levels, strict=True):
            if "q" in level.axes and array.shape[1 + level.axes.index("q")] > (level.depth or 0):
                raise CodesError(
                    f"level {level.name!r}: more stages than the corpus' {level.depth}"
                )
        if codes.tokens // len(codes) >= flat.LONGEST:
            raise CodesError(f"{codes.tokens} codes: more than a sequence may hold")

    def _count(self, shard: int) -> int:
        size = self._identity.shard_items
        return min(size, len(self._names) - shard * size)

    def _release(self, *, sync: bool) -> None:
        try:
            self._spools.close(sync=sync)
        finally:
            self._lock.release()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = error.strerror or error
            raise CodesError(f"{self._place.folder}: cannot write: {message}") from error


def _check(format: str, spec: CodeSpec, shard_items: int) -> Vocabulary:
    if format not in FORMATS:
        raise UsageError(f"unknown corpus format {format!r}", hint=f"known: {', '.join(FORMATS)}")
    if format in ("parquet", "arrow"):
        table.need()
    if shard_items < 1:
        raise UsageError(f"{shard_items} items in a shard: at least 1 is needed")
    vocabulary = Vocabulary(spec)
    if format == "bin" and vocabulary.bos > np.iinfo(np.int32).max:
        raise UsageError(
            f"{vocabulary.bos} codes do not fit into the tokens of format bin",
            hint="choose another format",
        )
    return vocabulary
