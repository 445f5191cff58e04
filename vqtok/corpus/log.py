"""The log of an unfinished corpus: a line for each committed shard, with all totals up to it.

A shard counts as composed when its line is whole. A torn last line is cut off.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.codes.container import Codes
from vqtok.codes.spec import integer
from vqtok.corpus import disk, items
from vqtok.corpus.info import ShardInfo, build, counts
from vqtok.corpus.vocabulary import Histogram
from vqtok.errors import CodesError

LOG = "commits.jsonl"


@dataclass
class Totals:
    """Sums up all items of the committed shards.

    Attributes:
        items: With codes.
        failed: Without.
        samples: Pixels or samples of one channel.
        codes: Codes of each level.
        carried: Items that have each of what is carried.
    """

    items: int = 0
    failed: int = 0
    samples: int = 0
    codes: list[int] = field(default_factory=list)
    carried: dict[str, int] = field(default_factory=dict)

    def add(self, codes: Codes, *, carried: Iterable[str] = ()) -> None:
        """Count an item, and what is carried with it."""
        self.items += 1
        for kind in carried:
            self.carried[kind] = self.carried.get(kind, 0) + 1
        self.samples += int(np.prod(codes.extent, dtype=np.int64))
        counts = [int(array.size) for array in codes.levels]
        self.codes = [a + b for a, b in zip(self.codes or [0] * len(counts), counts, strict=True)]


class Log:
    """Keeps the committed shards of a corpus.

    Args:
        state: Folder of what is unfinished.

    Attributes:
        shards: Committed ones.
        lengths: Bytes of each growing file that belong to them.
        totals: Over them.

    Raises:
        CodesError: the log is damaged otherwise than by being cut short.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self.shards: list[ShardInfo] = []
        self.lengths: dict[str, int] = {}
        self.totals = Totals()
        self._pairs = 0
        self._length = 0
        if (state / LOG).is_file():
            self._load()

    def commit(self, shard: ShardInfo, lengths: Mapping[str, int], histogram: Histogram) -> None:
        """Make a shard count; when this returns it does, for good."""
        before = len(self.shards)
        self.take_up([shard], lengths, histogram)
        disk.remove(self._histogram(before))

    def take_up(
        self, shards: Sequence[ShardInfo], lengths: Mapping[str, int], histogram: Histogram
    ) -> None:
        """Make shards count that lie there together; ``totals`` are those of all."""
        pairs = histogram.pairs()
        name = self._histogram(len(self.shards) + len(shards))
        disk.put(name, pairs.astype("<i8").tobytes(), by_way_of=self._state / "new-histogram")
        line = {
            "lengths": dict(lengths),
            "pairs": pairs.shape[1],
            "totals": asdict(self.totals),
        }
        with disk.Output(self._state / LOG, start=self._length) as out:
            for shard in shards:
                out.write(items.dump({**line, "shard": shard.to_json()}).encode() + b"\n")
            out.sync()
        self._length += out.size
        self.shards += shards

    def restore(self, histogram: Histogram) -> None:
        """Count again what the committed shards hold.

        Raises:
            CodesError: what was counted is missing or damaged.
        """
        if not self.shards:
            return
        path = self._histogram(len(self.shards))
        try:
            with disk.regular(path) as stream:
                data = stream.read(16 * self._pairs + 1)
        except OSError as error:
            raise CodesError(path, f"cannot read: {error.strerror}") from error
        size = 0 if histogram.counts is None else len(histogram.counts)
        pairs = np.frombuffer(data, "<i8") if len(data) == 16 * self._pairs else None
        if pairs is None or (pairs.size and not 0 <= pairs[: self._pairs].max() < size):
            raise CodesError(path, "damaged", hint="-f starts over")
        histogram.load(pairs.reshape(2, -1))

    def _histogram(self, shards: int) -> Path:
        return self._state / f"histogram-{shards:05d}"

    def _load(self) -> None:
        path = self._state / LOG
        with disk.regular(path) as stream:
            while line := stream.readline():
                if not line.endswith(b"\n"):
                    return
                try:
                    data = items.load(line)
                except CodesError:
                    if stream.tell() == os.fstat(stream.fileno()).st_size:
                        return  # a last line that never reached the disk
                    raise
                try:
                    self._take(data)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise CodesError(path, f"damaged: {error}", hint="-f starts over") from error
                self._length += len(line)

    def _take(self, data: dict[str, Any]) -> None:
        totals = data["totals"]
        self.shards.append(ShardInfo.from_json(data["shard"]))
        self.lengths = {
            name: integer(size, "length", low=0) for name, size in data["lengths"].items()
        }
        self._pairs = integer(data["pairs"], "pairs", low=0)
        codes = [integer(count, "codes", low=0) for count in totals["codes"]]
        self.totals = build(Totals, totals, codes=codes, carried=counts(totals.get("carried", {})))
