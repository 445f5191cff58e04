"""Reading a complete corpus, item by item, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqtok.codes.container import Codes
from vqtok.codes.corpus.index import CorpusInfo
from vqtok.codes.header import Header


@dataclass(frozen=True)
class Entry:
    """One item.

    Attributes:
        number: Its place in the corpus' list of names.
        name: Relative POSIX name, "cats/1.png"; safe to build a path below a folder from.
        codes: numpy arrays (B, *axes), B = 1 or the number of channels.
        header: What decoding needs.
    """

    number: int
    name: str
    codes: Codes
    header: Header


class CorpusReader:
    """The items of a complete corpus, in order; one is in memory at a time.

    Args:
        folder: Holds ``index.json``.

    Raises:
        CodesError: not a corpus, unfinished, or a damaged index.
        UsageError: a format whose extra is not installed.
    """

    info: CorpusInfo

    def __init__(self, folder: Path) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        """Items with codes."""
        return self.info.items

    def __iter__(self) -> Iterator[Entry]:
        """Items with codes in item order; every shard's checksum is checked before it is read.

        Raises:
            CodesError: naming the shard that is missing, truncated or damaged.
        """
        raise NotImplementedError

    def failures(self) -> Iterator[tuple[str, str]]:
        """(name, reason) of every item without codes, in item order."""
        raise NotImplementedError

    def histogram(self) -> np.ndarray:
        """How often each token id occurs: (vocabulary,); ``CodebookUse.offset`` cuts it.

        Raises:
            CodesError: missing or damaged, or the vocabulary is too large to be counted.
        """
        raise NotImplementedError
