"""Writing a corpus so that the process may be killed at any moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from vqtok.codes.container import Codes
from vqtok.codes.corpus.index import CorpusInfo
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec


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
        names: One unique relative POSIX name per item in corpus order ("cats/1.png").
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

    complete: bool

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
        raise NotImplementedError

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
        raise NotImplementedError

    def add(self, number: int, codes: Codes, header: Header) -> None:
        """Record an item's codes, in any order; on disk within about a second.

        A second result for an item is ignored: the first stands.

        Raises:
            CodesError: codes out of range, at odds with the header or of another spec than the
                corpus (then nothing is recorded), or the disk is full.
        """
        raise NotImplementedError

    def fail(self, number: int, reason: str) -> None:
        """Record that an item has no codes; it is absent from the shards, not retried on resuming.

        Args:
            number: Of the item.
            reason: One line for ``failed.jsonl``.
        """
        raise NotImplementedError

    def finish(self) -> CorpusInfo:
        """Write what is left and, last, ``index.json``.

        Raises:
            CodesError: an item has no result yet, or the disk is full.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Put what was recorded on disk and let others write; called on leaving the block."""
        raise NotImplementedError
