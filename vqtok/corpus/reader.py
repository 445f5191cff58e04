"""Reads complete corpora, item by item, whatever their format, and codes files one by one."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqtok.codes import files, npy
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec
from vqtok.corpus import disk, index, items, names
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.format import named
from vqtok.corpus.info import CorpusInfo, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.names import FAILED, HISTOGRAM
from vqtok.corpus.runs import Run
from vqtok.corpus.vocabulary import Vocabulary
from vqtok.errors import CodesError


class CorpusReader:
    """Reads the items of a complete corpus, in order; one is in memory at a time.

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
        self._format = named(self.info.format)
        self._format.require()

    @property
    def spec(self) -> CodeSpec:
        """Return the spec of all codes."""
        return self.info.spec

    def __len__(self) -> int:
        """Count the items with codes."""
        return self.info.items

    def __iter__(self) -> Iterator[Entry]:
        """Yield the items with codes, in order; a shard's checksum is checked before it is read.

        Raises:
            CodesError: naming the shard that is missing, truncated or damaged.
        """
        for shard in self.info.shards:
            for each in shard.ranges:
                each.check(self._folder)
            yield from self._shard(shard)

    def runs(self, number: int) -> Iterator[Run]:
        """Yield the items of a shard many at a time; its checksum is checked first.

        Raises:
            CodesError: naming the shard that is missing, truncated or damaged.
        """
        shard = self.info.shards[number]
        for each in shard.ranges:
            each.check(self._folder)
        path = self._folder / shard.ranges[0].path
        last, count = shard.first - 1, 0
        for run in self._format.runs(self._folder, self.info, shard):
            for item in run.items:
                if not last < item.number < shard.first + shard.count:
                    raise CodesError(path, f"item {item.number} out of order")
                last, count = item.number, count + 1
            yield run
        if count != shard.count - shard.failed:
            raise CodesError(path, f"{count} items found, {shard.count - shard.failed} expected")

    def failures(self) -> Iterator[tuple[str, str]]:
        """Yield (name, reason) of every item without codes, in order.

        Raises:
            CodesError: the record is missing or damaged.
        """
        if not self.info.failed:
            return
        side = self._side(FAILED)
        for line in items.lines(self._folder / FAILED, start=0, size=side.bytes):
            yield names.read(line.get("name")), str(line.get("reason"))

    def histogram(self) -> np.ndarray:
        """Return how often each token id occurs: (ids,) unsigned; ``CodebookUse.offset`` cuts it.

        Raises:
            CodesError: missing or damaged, or the vocabulary is too large to be counted.
        """
        side = self._side(HISTOGRAM)
        path = self._folder / HISTOGRAM
        with disk.regular(path) as stream:
            data = io.BytesIO(stream.read(side.bytes))
        try:
            counts = npy.array(data, npy.record(data, 0, side.bytes))
        except CodesError as error:
            error.about(path)
            raise
        if counts.shape != (Vocabulary(self.info.spec).bos,):
            raise CodesError(path, f"{counts.shape} counts found, one for each token expected")
        return counts

    def _shard(self, shard: ShardInfo) -> Iterator[Entry]:
        path = self._folder / shard.ranges[0].path
        last, count = shard.first - 1, 0
        for entry in self._format.read(self._folder, self.info, shard):
            if not last < entry.number < shard.first + shard.count:
                raise CodesError(path, f"item {entry.number} out of order")
            last, count = entry.number, count + 1
            yield entry
        expected = shard.count - shard.failed
        if count != expected:
            raise CodesError(path, f"{count} items found, {expected} expected")

    def _side(self, name: str) -> ByteRange:
        for side in self.info.sides:
            if side.path == name:
                side.check(self._folder)
                return side
        raise CodesError(self._folder, f"this corpus has no {name}")


@dataclass(frozen=True)
class Found:
    """Holds one item.

    Attributes:
        name: For people: where it lies.
        label: Its directory, relative to the corpus or folder that was named, as POSIX; the name of
            that folder if it lies in it directly.
        codes: numpy arrays (B, *axes), B = 1 or the number of channels.
        header: What decoding needs.
    """

    name: str
    label: str
    codes: Codes
    header: Header


@dataclass(frozen=True)
class Unread:
    """Names a file that could not be read."""

    name: str
    error: CodesError


def gather(
    corpora: Iterable[Path], loose: Iterable[tuple[Path, Path | None]]
) -> Iterator[Found | Unread]:
    """Yield the items of corpora, then of files, one in memory at a time.

    Args:
        corpora: Folders.
        loose: Files of codes, and the folder that each was found under, None if it was named.

    Raises:
        CodesError: a corpus that is unfinished or damaged.
    """
    for folder in corpora:
        own = folder.resolve().name
        for entry in CorpusReader(folder):
            label = entry.name.rpartition("/")[0] or own
            yield Found(f"{folder}/{entry.name}", label, entry.codes, entry.header)
    for path, root in loose:
        try:
            codes, header = files.read(path)
        except CodesError as error:
            yield Unread(str(path), error)
        else:
            yield Found(str(path), _label(path, root), codes, header)


def _label(path: Path, root: Path | None) -> str:
    if root is None:
        return path.resolve().parent.name
    folder = path.relative_to(root).parent.as_posix()
    return root.resolve().name if folder == "." else folder
