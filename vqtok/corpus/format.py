"""What a corpus format is; each file of ``corpus/formats`` makes one."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

from vqtok.codes.spec import CodeSpec
from vqtok.corpus import formats
from vqtok.corpus.disk import ByteRange, Output, move
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.info import CorpusInfo, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.names import STATE, Keys
from vqtok.corpus.runs import Run, of_entries
from vqtok.corpus.vocabulary import Vocabulary
from vqtok.errors import CodesError


@dataclass
class Staging:
    """Holds what every format needs to write its shards.

    Attributes:
        folder: Of the corpus.
        spec: Of the corpus.
        vocabulary: Of the spec.
        keys: Unique path of each item.
        carry: What is carried beside the codes.
        lengths: Bytes of each growing file that belong to committed shards.
    """

    folder: Path
    spec: CodeSpec
    vocabulary: Vocabulary
    keys: Keys
    carry: tuple[str, ...] = ()
    lengths: dict[str, int] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """Return the folder of what is unfinished."""
        return self.folder / STATE

    @contextmanager
    def growing(self, name: str) -> Iterator[Output]:
        """Append to a growing file after its committed part, in place of what may lie there."""
        start = self.lengths.get(name, 0)
        with Output(self.state / name, start=start) as out:
            yield out
            out.sync()
        self.lengths[name] = start + out.size

    @contextmanager
    def fresh(self, name: str) -> Iterator[Output]:
        """Write a file that gets its name in the corpus when it is whole."""
        unfinished = self.state / f"new-{name}"
        with Output(unfinished, name=name) as out:
            yield out
            out.sync()
        move(unfinished, self.folder / name)

    def publish(self, name: str) -> None:
        """Move a growing file into the corpus, unless an earlier run did.

        Raises:
            CodesError: it is longer or shorter than its committed shards.
        """
        source, target = self.state / name, self.folder / name
        if not source.exists() and not target.exists():
            with self.growing(name):
                pass  # nothing grew: a corpus without items
        if source.exists():
            move(source, target)
        found, expected = target.stat().st_size, self.lengths.get(name, 0)
        if found != expected:
            raise CodesError(
                target, f"{found} bytes found, {expected} expected", hint="-f starts over"
            )


class Format(Protocol):
    """Lays out a corpus on disk, shard by shard, and reads it back.

    Attributes:
        name: What ``--format`` takes: the name of its file.
        growing: Files that all shards are appended to; none: each shard is a file of its own.
        derived: Files that are made of those at the end.
        suffixes: What follows an item's key in the names of its files or members; none: items have
            no such names.
        dots: Whether the last part of a key may hold dots.
        item_files: Whether each item is a file of its own; their paths are in ``items.jsonl``.
        carries: What it can hold beside codes: of ``items.KINDS`` and ``LABEL``.
        beside: Where that are members or files: what follows an item's key in their names.
    """

    name: str
    growing: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    dots: bool = True
    item_files: bool = False
    carries: tuple[str, ...] = ()
    beside: Mapping[str, str] = MappingProxyType({})

    def require(self) -> None:
        """Refuse to go on without a package that is needed.

        Raises:
            UsageError: it is not installed.
        """
        return None

    def check(self, vocabulary: Vocabulary) -> None:
        """Refuse codes that have no such layout.

        Raises:
            UsageError: the format cannot hold them.
        """
        return None

    def check_carried(self, carried: Mapping[str, bytes]) -> None:
        """Refuse what is carried with an item and has no place.

        Raises:
            CodesError: bytes that the format cannot hold.
        """
        return None

    def all_suffixes(self, carry: Sequence[str]) -> tuple[str, ...]:
        """List what may follow an item's key in names, with what is carried."""
        return (*self.suffixes, *(self.beside[kind] for kind in carry if kind in self.beside))

    def layout(self, vocabulary: Vocabulary) -> Mapping[str, Any] | None:
        """Return what the index says of the tokens; None for formats without tokens."""
        return None

    def shard_files(self, shard: int) -> list[str]:
        """List the files that hold a shard, in the order of its byte ranges."""
        return list(self.growing) or [f"shard-{shard:05d}.{self.name}"]

    def write(self, staging: Staging, shard: int, entries: Iterable[Entry]) -> list[ByteRange]:
        """Write a shard and return where it lies.

        Raises:
            OSError: it cannot be written.
        """
        ...

    def derive(self, staging: Staging) -> Iterator[ByteRange]:
        """Write the derived files and yield where they lie."""
        yield from ()

    def read(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Entry]:
        """Yield the items of a shard, the checksums of its byte ranges being checked already.

        Raises:
            CodesError: naming the file that is damaged.
        """
        ...

    def runs(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Run]:
        """Yield what ``read`` does, many items at a time.

        Raises:
            CodesError: naming the file that is damaged.
        """
        return of_entries(self.read(folder, info, shard), info.spec)


def named(name: str) -> Format:
    """Return the format of this name.

    Raises:
        CodesError: there is none: a corpus of another vqtok, or a damaged one.
    """
    if name not in FORMATS:
        raise CodesError(f"unknown corpus format {name!r}", hint=f"known: {', '.join(FORMATS)}")
    module = importlib.import_module(f"{formats.__name__}.{name}")
    return cast(Format, module.FORMAT)
