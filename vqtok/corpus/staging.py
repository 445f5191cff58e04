"""Where shards are written: paths, names and the files that grow from shard to shard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vqtok.codes.spec import CodeSpec
from vqtok.corpus.disk import Output, move
from vqtok.corpus.names import STATE, Keys
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
