"""Where a shard is composed: paths, names and the files that grow from shard to shard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vqtok.codes.spec import CodeSpec
from vqtok.corpus import disk
from vqtok.corpus.info import Extent
from vqtok.corpus.kinds import STATE
from vqtok.corpus.names import Keys
from vqtok.corpus.vocabulary import Vocabulary


@dataclass
class Place:
    """What the composers of all formats share.

    Attributes:
        folder: Of the corpus.
        format: Of the corpus.
        spec: Of the corpus.
        vocabulary: Of the spec.
        keys: Unique path of each item.
        lengths: Bytes of each growing file that belong to committed shards.
    """

    folder: Path
    format: str
    spec: CodeSpec
    vocabulary: Vocabulary
    keys: Keys
    lengths: dict[str, int] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """Folder of what is unfinished."""
        return self.folder / STATE

    @contextmanager
    def growing(self, name: str) -> Iterator[disk.Output]:
        """Append to a growing file after its committed part, in place of what may lie there."""
        start = self.lengths.get(name, 0)
        out = disk.Output(self.state / name, start=start)
        try:
            yield out
            out.sync()
        finally:
            out.close()
        self.lengths[name] = start + out.size

    @contextmanager
    def fresh(self, name: str) -> Iterator[disk.Output]:
        """Write a file that gets its name in the corpus when it is whole."""
        by_way_of = self.state / f"new-{name}"
        out = disk.Output(by_way_of)
        try:
            yield out
            out.sync()
        finally:
            out.close()
        disk.move(by_way_of, self.folder / name)


def extent(name: str, out: disk.Output, *, start: int = 0) -> Extent:
    """What an output put where."""
    return Extent(name, start, out.size, out.hexdigest())
