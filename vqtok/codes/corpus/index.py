"""``index.json``: what a complete corpus holds, its statistics, and how its shards can be checked.

Everything read is untrusted: types and ranges are checked before anything is computed from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.codes.spec import CodeSpec

VERSION = 1
"""Raised only when an older reader would misread a newer corpus."""


@dataclass(frozen=True)
class Extent:
    """A range of bytes of one of the corpus' files, and what they hash to."""

    path: str
    start: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardInfo:
    """Items [first, first + count) of the list of names.

    Attributes:
        first: Number of the first item.
        count: Items that belong here, failed ones among them.
        failed: Items without codes.
        extents: The bytes that hold the others.
    """

    first: int
    count: int
    failed: int
    extents: tuple[Extent, ...]


@dataclass(frozen=True)
class CodebookUse:
    """How often one codebook was used.

    Attributes:
        level: Name of the level.
        stage: Position on the "q" axis; None for levels without one.
        offset: Token id of code 0: where this codebook begins in the histogram and in tokens.bin.
        size: Entries, K.
        codes: Codes made with it.
        used: Entries used at least once.
    """

    level: str
    stage: int | None
    offset: int
    size: int
    codes: int
    used: int


@dataclass(frozen=True)
class CorpusInfo:
    """What ``index.json`` says.

    Attributes:
        format: One of ``FORMATS``.
        spec: Of all codes.
        model: NAME of the model; "" if unknown.
        job: Identity of what was done, as given to the writer.
        shard_items: Items in a shard.
        items: Items with codes.
        failed: Items without.
        tokens: Codes in all items, levels and channels (BOS tokens are not counted).
        bits: Their nominal cost, log2 K each.
        pixels: Image and video: of all items; None for audio.
        seconds: Audio: of all recordings, whatever their channels; None otherwise.
        shards: In item order.
        codebooks: Levels coarse to fine, stages in order; empty if the vocabulary is too large to
            count (above 4 194 304 codes).
        layout: Format "bin": {"dtype", "bos", "vocabulary"}; otherwise None.
    """

    format: str
    spec: CodeSpec
    model: str
    job: Mapping[str, Any]
    shard_items: int
    items: int
    failed: int
    tokens: int
    bits: float
    pixels: int | None
    seconds: float | None
    shards: tuple[ShardInfo, ...]
    codebooks: tuple[CodebookUse, ...]
    layout: Mapping[str, Any] | None


def read(folder: Path) -> CorpusInfo:
    """Read a complete corpus' index.

    Raises:
        CodesError: not a corpus, unfinished, damaged, or of a newer version.
    """
    raise NotImplementedError


def histogram(folder: Path) -> np.ndarray:
    """How often each token id occurs: (vocabulary,) unsigned; ``CodebookUse.offset`` cuts it.

    Raises:
        CodesError: missing or damaged.
    """
    raise NotImplementedError


def is_corpus(path: Path) -> bool:
    """True for a folder that holds a corpus, complete or unfinished."""
    raise NotImplementedError
