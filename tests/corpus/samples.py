"""Corpora to write: items that differ in size, some that fail, and a folder as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.codes import strategies as some
from vqtok.codes.container import Codes
from vqtok.codes.files import Header, Source
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.corpus import items
from vqtok.corpus.info import CorpusInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.runs import Run, RunItem
from vqtok.corpus.writer import CorpusWriter

SPECS = {
    "image": CodeSpec(
        "image",
        (
            LevelSpec("top", ("h", "w"), 5, (8, 8)),
            LevelSpec("bottom", ("q", "h", "w"), 7, (4, 4), 2),
        ),
        fingerprint="0123456789abcdef",
    ),
    "audio": CodeSpec(
        "audio", (LevelSpec("codes", ("q", "t"), 1024, (320,), 4),), 24000.0, "fedcba9876543210"
    ),
}

Result = tuple[Codes, Header] | str
"""Codes of an item, or why there are none."""


def item(spec: CodeSpec, seed: int, *, depth: int | None = None) -> tuple[Codes, Header]:
    """Codes that are this seed's, of a size that is too."""
    random = np.random.default_rng(seed)
    rank = {"image": 2, "audio": 1, "video": 3}[spec.modality]
    extent = tuple(int(size) for size in random.integers(1, 40, rank))
    channels = int(random.integers(1, 3)) if spec.modality == "audio" else 1
    kept = depth or (None if spec.depth is None else int(random.integers(1, spec.depth + 1)))
    levels = tuple(
        random.integers(0, level.codebook_size, (channels, *level.shape(extent, depth=kept)))
        for level in spec.levels
    )
    header = Header(spec, extent, "a-model", channels, Source(f"{seed}.png"), "0.1.0")
    return Codes(spec, levels, extent), header


@dataclass(frozen=True)
class Corpus:
    """What is to be written."""

    spec: CodeSpec
    names: Sequence[str]
    results: Sequence[Result]
    shard_items: int = 3
    job: str = "a"
    carried: Sequence[dict[str, bytes]] = ()
    carry: tuple[str, ...] = ()

    def open(self, folder: Path, format: str, **options: Any) -> CorpusWriter:
        return CorpusWriter(
            folder,
            format=format,
            names=self.names,
            spec=self.spec,
            job={"model": "a-model", "job": self.job},
            shard_items=self.shard_items,
            carry=self.carry,
            **options,
        )

    def put(self, writer: CorpusWriter, number: int) -> None:
        result = self.results[number]
        if isinstance(result, str):
            writer.fail(number, result)
        else:
            writer.add(number, *result, self.carried[number] if self.carried else None)

    def write(
        self, folder: Path, format: str, *, order: Iterable[int] | None = None, **options: Any
    ) -> CorpusInfo:
        with self.open(folder, format, **options) as writer:
            for number in order if order is not None else writer.pending():
                self.put(writer, number)
            return writer.finish()

    def assert_read_back(self, folder: Path) -> None:
        reader = CorpusReader(folder)
        found = list(reader)
        good = [n for n, result in enumerate(self.results) if not isinstance(result, str)]
        assert [entry.number for entry in found] == good
        assert len(reader) == len(good)
        for entry in found:
            assert_is(entry, self.names[entry.number], self.results[entry.number])
            assert entry.carried == (self.carried[entry.number] if self.carried else {})
        runs = [run for number in range(len(reader.info.shards)) for run in reader.runs(number)]
        assert [item.number for run in runs for item in run.items] == good
        for entry, (run, own, flat) in zip(found, each_item(runs), strict=True):
            assert (own.name, own.carried) == (entry.name, entry.carried)
            assert own.label == items.short_label(entry, reader.spec)
            assert (run.shapes, run.channels) == (entry.codes.shapes, len(entry.codes))
            np.testing.assert_array_equal(
                flat, np.atleast_2d(entry.codes.flat()).reshape(flat.shape)
            )
        failed = [(self.names[n], r) for n, r in enumerate(self.results) if isinstance(r, str)]
        assert list(reader.failures()) == failed


def each_item(runs: Iterable[Run]) -> Iterator[tuple[Run, RunItem, np.ndarray]]:
    for run in runs:
        for number, own in enumerate(run.items):
            yield run, own, run.flat[number * run.channels : (number + 1) * run.channels]


def assert_is(entry: Entry, name: str, result: Result) -> None:
    assert not isinstance(result, str)
    codes, header = result
    assert entry.name == name
    assert entry.header == header
    assert entry.codes.spec == codes.spec
    assert entry.codes.extent == codes.extent
    for level, found, expected in zip(
        codes.spec.levels, entry.codes.levels, codes.levels, strict=True
    ):
        assert found.dtype == level.dtype
        np.testing.assert_array_equal(found, expected)


def small(kind: str = "image", *, count: int = 8, job: str = "a", seed: int = 0) -> Corpus:
    """A few items in three shards, every fourth of which fails, in nested folders."""
    spec = SPECS[kind]
    names = [f"{'cats' if n % 2 else 'dogs/old'}/{n}.png" for n in range(count)]
    results: list[Result] = [
        f"cannot read image {n}" if n % 4 == 3 else item(spec, seed + n) for n in range(count)
    ]
    return Corpus(spec, names, results, job=job)


def carrying(format: str, *, count: int = 8, job: str = "a") -> Corpus:
    """A corpus whose items have captions, classes and JSON of their own, or some, or none."""
    corpus = small(count=count, job=job)
    text = "µ\r\n" if format in ("parquet", "arrow") else b"\xff\0".decode("latin1")
    encoding = "utf-8" if format in ("parquet", "arrow") else "latin1"
    carried = [
        {
            kind: f"{kind} {number} {text}".encode(encoding)
            for kind in ("cls", "json", "txt")[: number % 4]
        }
        for number in range(count)
    ]
    carry = ("cls", "json", "txt", *(["label"] if format in ("parquet", "arrow") else []))
    return replace(corpus, carried=carried, carry=tuple(sorted(carry)))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file's bytes by relative path, and every folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


_parts = st.text(st.sampled_from("ab._-é\udce9\n A"), min_size=1, max_size=4).filter(
    lambda part: part not in (".", "..")
)
_paths = st.lists(_parts, min_size=1, max_size=3).map("/".join)
paths = st.builds(lambda path, suffix: path + suffix, _paths, st.sampled_from(("", ".png", ".jpg")))


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """Any names, spec, results and shard size."""
    spec = draw(some.specs().filter(lambda spec: _size(spec) <= 1 << 18))
    count = draw(st.integers(0, 7))
    names = draw(st.lists(paths, min_size=count, max_size=count, unique=True))
    seeds = draw(st.lists(st.integers(0, 999), min_size=count, max_size=count))
    results: list[Result] = [
        draw(st.sampled_from(("broken", "zu groß\n"))) if seed % 5 == 4 else item(spec, seed)
        for seed in seeds
    ]
    return Corpus(spec, names, results, draw(st.integers(1, 4)))


def _size(spec: CodeSpec) -> int:
    return sum(level.codebook_size * (level.depth or 1) for level in spec.levels)


def truncated(spec: CodeSpec, depth: int) -> CodeSpec:
    """The spec of codes of fewer stages."""
    levels = tuple(
        replace(level, depth=depth) if "q" in level.axes else level for level in spec.levels
    )
    return replace(spec, levels=levels)
