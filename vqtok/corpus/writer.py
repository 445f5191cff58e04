"""Writing a corpus so that the process may be killed at any moment."""

from __future__ import annotations

import io
import json
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec
from vqtok.corpus import disk, items, spool
from vqtok.corpus.folder import Lock, check, keys_of, prepare
from vqtok.corpus.format import Staging, named
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.growth import Growth, begin, grow
from vqtok.corpus.index import finish, is_corpus
from vqtok.corpus.info import CorpusInfo, Identity, ShardInfo
from vqtok.corpus.items import LABEL, LARGEST, Entry, label_of, pack, unpack
from vqtok.corpus.log import Log
from vqtok.corpus.names import COMMAND, FAILED, digest
from vqtok.corpus.vocabulary import Histogram, Vocabulary, fits
from vqtok.errors import CodesError, UsageError

LONGEST = (1 << 31) - 1
"""Codes of one channel of an item, BOS included: Megatron's index holds lengths as int32."""

_SYNC_S = 1.0


class CorpusWriter:
    """Writes or resumes a corpus. A context manager; use it from one thread.

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
        append: Add those items to a finished corpus that it does not have.
        carry: What is carried beside the codes: of ``items.KINDS`` and ``items.LABEL``.
        command: What a person would type to go on; shown while the corpus is unfinished.

    Attributes:
        complete: An earlier run finished this very job.
        names: Of all items, those of the finished corpus first.
        begun: Number of the first item of this run: those before were there.
        later: New items that are for another run: one that was cut short is finished first.

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
        append: bool = False,
        carry: Sequence[str] = (),
        command: str = "",
    ) -> None:
        if format not in FORMATS:
            raise UsageError(
                f"unknown corpus format {format!r}", hint=f"known: {', '.join(FORMATS)}"
            )
        self._format = named(format)
        self._format.require()
        if shard_items < 1:
            raise UsageError(f"{shard_items} items in a shard: at least 1 is needed")
        if other := sorted(set(carry) - set(self._format.carries)):
            raise UsageError(f"format {format} cannot hold {', '.join(other)}")
        vocabulary = Vocabulary(spec)
        self._format.check(vocabulary)
        self._folder, self._unsynced = folder, set[Path]()
        self._synced = time.monotonic()
        self._broken = False
        self._histogram = Histogram(vocabulary)
        wanted = _identity(format, names, spec, job, shard_items, carry)
        if not append:
            self._take(Growth(names, ()), wanted, vocabulary)
        with self._naming_the_folder():
            if not append:
                folder.mkdir(parents=True, exist_ok=True)
            elif not is_corpus(folder):
                raise UsageError(folder, "no corpus to append to", hint="leave --append out")
            self._lock = Lock(folder)
            try:
                if append:
                    growth = grow(folder, names)
                    self._take(growth, growth.identity(wanted), vocabulary)
                    self._info = begin(self._staging, growth, self._identity)
                else:
                    self._info = prepare(self._staging, self._identity, names, restart=restart)
                self.complete = self._info is not None
                if not self.complete:
                    self._resume()
                    self._note(command)
            except BaseException:
                self._lock.release()
                raise

    def _take(self, growth: Growth, identity: Identity, vocabulary: Vocabulary) -> None:
        """Take up the names of all items, which of them are new, and what is made of them."""
        self.names: Sequence[str] = growth.names
        self.later, self.begun = growth.later, len(growth.names) - growth.new
        self._identity = identity
        keys = keys_of(self._format, growth.names, identity.parts, identity.carry)
        self._staging = Staging(self._folder, identity.spec, vocabulary, keys, identity.carry)
        self._spans = list(identity.spans())
        self._firsts = [first for first, _ in self._spans]
        self._done = bytearray(len(growth.names))

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pending(self) -> Iterator[int]:
        """Yield the numbers of the items without a result; results may be added meanwhile."""
        number = -1 if not self.complete else len(self._done)
        while (number := self._done.find(0, number + 1)) >= 0:
            yield number

    @property
    def carry(self) -> tuple[str, ...]:
        """Return what is carried beside the codes."""
        return self._identity.carry

    def check_carried(self, carried: Mapping[str, bytes]) -> None:
        """Refuse what ``add`` could not record.

        Raises:
            CodesError: bytes that the format cannot hold, or too many.
        """
        for kind, data in carried.items():
            if len(data) > LARGEST:
                raise CodesError(f"its {kind} has {len(data)} bytes, at most {LARGEST} are carried")
        self._format.check_carried(carried)

    def add(
        self, number: int, codes: Codes, header: Header, carried: Mapping[str, bytes] | None = None
    ) -> None:
        """Record an item's codes and what is carried with them, in any order.

        They survive the process when this returns, and a power cut about a second later. A second
        result for an item is ignored: the first stands.

        Raises:
            CodesError: codes out of range, at odds with the header or of another spec than the
                corpus, or too many for the format (then nothing is recorded); or the disk is full.
        """
        whole = io.BytesIO()
        files.write(whole, codes, header, format="safetensors")
        self.check(codes)
        if not carried:
            self._record(number, spool.CODES, whole.getvalue())
            return
        if other := sorted(set(carried) - set(self.carry)):
            raise CodesError(f"the corpus carries no {', '.join(other)}")
        self.check_carried(carried)
        self._record(number, spool.CARRIED, pack(carried, whole.getvalue()))

    def check(self, codes: Codes) -> None:
        """Refuse codes that ``add`` could not record.

        Raises:
            CodesError: of another model, or too many.
        """
        spec = self._staging.spec
        if not fits(codes.spec, spec):
            raise CodesError("codes of another model than the corpus")
        for level, array in zip(spec.levels, codes.levels, strict=True):
            if "q" in level.axes and array.shape[1 + level.axes.index("q")] > (level.depth or 0):
                raise CodesError(
                    f"level {level.name!r}: more stages than the corpus' {level.depth}"
                )
        if codes.tokens // len(codes) >= LONGEST:
            raise CodesError(f"{codes.tokens} codes: more than a sequence may hold")

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
            raise CodesError(self._staging.folder, f"{missing} items have no result yet")
        with self._naming_the_folder():
            self._info = finish(
                self._staging, self._format, self._identity, self._log, self._histogram
            )
        self.complete = True
        return self._info

    def close(self) -> None:
        """Put what was recorded on disk and let others write; called on leaving the block."""
        with self._naming_the_folder():
            try:
                self._sync()
            finally:
                self._lock.release()

    def _note(self, command: str) -> None:
        """Write down how a person goes on."""
        if command:
            state = self._staging.state
            disk.put(state / COMMAND, command.encode(), by_way_of=state / "new-command")

    def _resume(self) -> None:
        self._log = Log(self._staging.state)
        check(self._staging, self._log)
        self._log.restore(self._histogram)
        self._staging.lengths = self._log.lengths
        self._missing = []
        for shard in range(self._identity.shards):
            first, count = self._spans[shard]
            if shard < len(self._log.shards):
                disk.remove(self._spool(shard))
                numbers = list(range(first, first + count))
            else:
                numbers = [each.number for each in self._recover(shard)]
            for number in numbers:
                self._done[number] = 1
            self._missing.append(count - len(numbers))
        self._compose_ready()

    def _record(self, number: int, kind: int, payload: bytes) -> None:
        if not 0 <= number < len(self._done):
            raise IndexError(f"item {number} of {len(self._done)}")
        if self._broken:
            raise CodesError(self._staging.folder, "writing failed before: run the command again")
        if self.complete or self._done[number]:
            return
        shard = bisect_right(self._firsts, number) - 1
        with self._naming_the_folder():
            spool.append(self._spool(shard), number, kind, payload)
            self._unsynced.add(self._spool(shard))
            self._done[number] = 1
            self._missing[shard] -= 1
            if time.monotonic() - self._synced >= _SYNC_S:
                self._sync()
            self._compose_ready()

    def _sync(self) -> None:
        disk.sync_files(sorted(self._unsynced))
        self._unsynced.clear()
        self._synced = time.monotonic()

    def _compose_ready(self) -> None:
        while (shard := len(self._log.shards)) < len(self._missing) and not self._missing[shard]:
            # Until the shard is committed, sums and lengths in memory run ahead of the disk.
            self._broken = True
            self._compose(shard)
            self._broken = False

    def _compose(self, shard: int) -> None:
        path, (first, count) = self._spool(shard), self._spans[shard]
        records = self._recover(shard)
        if len(records) != count:
            raise CodesError(path, "damaged: run the command again")
        failed = self._log.totals.failed
        with disk.regular(path) as stream, self._staging.growing(FAILED) as failures:
            entries = self._entries(stream, records, failures)
            ranges = self._format.write(self._staging, shard, entries)
        failed = self._log.totals.failed - failed
        info = ShardInfo(first, count, failed, tuple(ranges))
        self._log.commit(info, self._staging.lengths, self._histogram)
        self._unsynced.discard(path)
        disk.remove(path)

    def _entries(
        self, stream: Any, records: list[spool.Record], failures: disk.Output
    ) -> Iterator[Entry]:
        totals = self._log.totals
        for record in records:
            name, payload = self.names[record.number], spool.payload(stream, record)
            if record.kind == spool.FAILURE:
                reason = items.load(payload).get("reason")
                failures.write(items.dump({"name": name, "reason": reason}).encode() + b"\n")
                totals.failed += 1
                continue
            carried: dict[str, bytes] = {}
            if record.kind == spool.CARRIED:
                carried, payload = unpack(payload)
            codes, header = files.read(io.BytesIO(payload))
            labelled = LABEL in self.carry and label_of(name)
            totals.add(codes, carried=(*carried, *([LABEL] if labelled else [])))
            self._histogram.add(codes)
            yield Entry(record.number, name, codes, header, carried)

    def _spool(self, shard: int) -> Path:
        return self._staging.state / spool.name(shard)

    def _recover(self, shard: int) -> list[spool.Record]:
        first, count = self._spans[shard]
        return spool.recover(self._spool(shard), first=first, count=count)

    @contextmanager
    def _naming_the_folder(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = error.strerror or error
            raise CodesError(self._folder, f"cannot write: {message}") from error


def _identity(
    format: str,
    names: Sequence[str],
    spec: CodeSpec,
    job: Mapping[str, Any],
    shard_items: int,
    carry: Sequence[str],
) -> Identity:
    """Return what a later run must share to go on with this one.

    Raises:
        UsageError: a job that is no JSON.
    """
    try:
        plain = json.loads(json.dumps(dict(job), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"job: not JSON: {error}") from error
    whole = CodeSpec.from_json(json.loads(json.dumps(spec.to_json())))
    kinds = tuple(sorted(set(carry)))
    return Identity(format, whole, plain, digest(names), len(names), shard_items, carry=kinds)
