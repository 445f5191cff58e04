"""Reading a complete corpus, item by item, whatever its format."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vqtok.codes import _npy
from vqtok.corpus import disk, flat, index, items, names, table, tar, tree
from vqtok.corpus.info import CorpusInfo, Extent, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.kinds import FAILED, HISTOGRAM
from vqtok.corpus.vocabulary import Vocabulary
from vqtok.errors import CodesError

_READ = {
    "files": tree.read,
    "tar": tar.read,
    "bin": flat.read,
    "parquet": table.read,
    "arrow": table.read,
}


class CorpusReader:
    """The items of a complete corpus, in order; one is in memory at a time.

    Args:
        folder: Holds ``index.json``.

    Attributes:
        info: What the index says.

    Raises:
        CodesError: not a corpus, unfinished, or a damaged index.
        UsageError: a format whose extra is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.info: CorpusInfo = index.read(folder)
        if self.info.format in ("parquet", "arrow"):
            table.need()

    def __len__(self) -> int:
        """Items with codes."""
        return self.info.items

    def __iter__(self) -> Iterator[Entry]:
        """Items with codes in item order; every shard's checksum is checked before it is read.

        Raises:
            CodesError: naming the shard that is missing, truncated or damaged.
        """
        for shard in self.info.shards:
            for extent in shard.extents:
                self._check(extent)
            yield from self._shard(shard)

    def failures(self) -> Iterator[tuple[str, str]]:
        """(name, reason) of every item without codes, in item order.

        Raises:
            CodesError: the record is missing or damaged.
        """
        if not self.info.failed:
            return
        side = self._side(FAILED)
        with disk.regular(self._folder / FAILED) as stream:
            for line in items.lines(stream, start=0, size=side.bytes):
                yield names.read(line.get("name")), str(line.get("reason"))

    def histogram(self) -> np.ndarray:
        """How often each token id occurs: (vocabulary,) unsigned; ``CodebookUse.offset`` cuts it.

        Raises:
            CodesError: missing or damaged, or the vocabulary is too large to be counted.
        """
        side = self._side(HISTOGRAM)
        path = self._folder / HISTOGRAM
        with disk.regular(path) as stream:
            data = io.BytesIO(stream.read(side.bytes))
        try:
            counts = _npy.array(data, _npy.record(data, 0, side.bytes))
        except CodesError as error:
            raise CodesError(f"{path}: {error}") from error
        if counts.shape != (Vocabulary(self.info.spec).bos,):
            raise CodesError(f"{path}: {counts.shape} counts found, one for each token expected")
        return counts

    def _shard(self, shard: ShardInfo) -> Iterator[Entry]:
        where = self._folder / shard.extents[0].path
        last, count = shard.first - 1, 0
        for entry in _READ[self.info.format](self._folder, self.info, shard):
            if not last < entry.number < shard.first + shard.count:
                raise CodesError(f"{where}: item {entry.number} out of place")
            last, count = entry.number, count + 1
            yield entry
        if count != shard.count - shard.failed:
            expected = shard.count - shard.failed
            raise CodesError(f"{where}: {count} items found, {expected} expected")

    def _side(self, name: str) -> Extent:
        for side in self.info.sides:
            if side.path == name:
                self._check(side)
                return side
        raise CodesError(f"{self._folder}: this corpus has no {name}")

    def _check(self, extent: Extent) -> None:
        path = self._folder / extent.path
        try:
            found = disk.digest(path, start=extent.start, size=extent.bytes)
        except OSError as error:
            raise CodesError(f"{path}: cannot read: {error.strerror or error}") from error
        if found is None:
            size = os.stat(path).st_size  # noqa: PTH116
            raise CodesError(
                f"{path}: truncated: {size} bytes found, {extent.start + extent.bytes} expected"
            )
        if found != extent.sha256:
            raise CodesError(f"{path}: damaged: another checksum than when it was written")
