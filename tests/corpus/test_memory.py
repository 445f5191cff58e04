"""However much a shard holds, one item of it is in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.corpus.samples import Corpus
from vqtok.codes.container import Codes
from vqtok.codes.files import Header
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.reader import CorpusReader

SIDE = 256
ITEM = 2 * SIDE * SIDE
"""Bytes of one item's codes."""


def peak(work: Callable[[], None]) -> int:
    """Largest sum of what Python and numpy held at once, and pyarrow's growth, in bytes."""
    before = pa.default_memory_pool().max_memory()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] + pa.default_memory_pool().max_memory() - before
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_shard_of_any_size_is_written_and_read_in_flat_memory(tmp_path: Path, format: str):
    spec = CodeSpec("image", (LevelSpec("codes", ("h", "w"), 8192, (8, 8)),))
    extent = (8 * SIDE, 8 * SIDE)
    array = np.random.default_rng(0).integers(0, 8192, (1, SIDE, SIDE), np.uint16)
    item = (Codes(spec, (array,), extent), Header(spec, extent))
    # Tables are written and read in groups of 4 MiB; Parquet needs 4 bytes for each code and as
    # many for its levels and dictionary.
    table = format in ("parquet", "arrow")
    count, allowed = (1000, 70e6) if table else (400, 60 * ITEM)
    corpus = Corpus(spec, [f"{n}.png" for n in range(count)], [item] * count, count)
    assert allowed < 0.6 * count * ITEM

    def write() -> None:
        corpus.write(tmp_path / "a", format)

    def read() -> None:
        for entry in CorpusReader(tmp_path / "a"):
            assert entry.codes.tokens == SIDE * SIDE

    assert peak(write) < allowed
    assert peak(read) < allowed
