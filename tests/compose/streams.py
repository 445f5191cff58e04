"""Corpora to compose, with captions, and what a stream of them must hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.compose import words
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.codes.spec import CodeSpec
from vqtok.compose.reader import Block, StreamReader, Text
from vqtok.compose.state import Totals
from vqtok.compose.stream import Choices, compose
from vqtok.corpus.writer import CorpusWriter
from vqtok.pipeline.compose import Prepared, Request, prepare

SPECS = {"image": words.grid(50), "audio": words.rvq(20, 3)}


def item_of(spec: CodeSpec, seed: int) -> tuple[Codes, Header]:
    """An item whose size and codes are this seed's."""
    random = np.random.default_rng(seed)
    if spec.modality == "image":
        extent: tuple[int, ...] = tuple(int(n) for n in random.integers(9, 40, 2))
        channels = 1
    else:
        extent, channels = (int(random.integers(1, 9000)),), 1 + seed % 2
    codes = words.codes_of(spec, extent, seed=seed, channels=channels)
    return codes, Header(spec, extent, "a-model", channels, Source(f"{seed}.png"), "0.2.0")


def names_of(spec: CodeSpec, count: int) -> list[str]:
    suffix = "png" if spec.modality == "image" else "wav"
    return [f"{'cats' if n % 2 else 'dogs/old'}/{n}.{suffix}" for n in range(count)]


def text_of(name: str) -> str:
    return f"about {name}, ü"


def corpus(
    folder: Path,
    spec: CodeSpec,
    *,
    count: int = 7,
    format: str = "bin",
    shard_items: int = 3,
    carried: bool = False,
    numbers: Sequence[int] | None = None,
) -> Path:
    """A corpus whose item 4 failed."""
    names, chosen = names_of(spec, count), list(numbers or range(count))
    with CorpusWriter(
        folder,
        format=format,
        names=[names[n] for n in chosen],
        spec=spec,
        job={"model": "a-model"},
        shard_items=shard_items,
        carry=("txt",) if carried else (),
    ) as writer:
        for place, number in enumerate(chosen):
            if number == 4:
                writer.fail(place, "broken")
                continue
            held = {"txt": text_of(names[number]).encode()} if carried else None
            writer.add(place, *item_of(spec, number), held)
        writer.finish()
    return folder


def empty(folder: Path, spec: CodeSpec, numbers: Sequence[int]) -> None:
    """A corpus of items that failed, or of none."""
    names = [names_of(spec, 7)[number] for number in numbers]
    with CorpusWriter(folder, format="bin", names=names, spec=spec, job={"model": "m"}) as writer:
        for place in range(len(names)):
            writer.fail(place, "broken")
        writer.finish()


def captions(path: Path, names: Sequence[str]) -> Path:
    """Texts by key, of every name."""
    rows = [json.dumps({"key": name, "text": text_of(name)}) + "\n" for name in names]
    path.write_text("".join(rows))
    return path


def lay(folder: Path, specs: Mapping[str, CodeSpec] = SPECS, **how: Any) -> Path:
    """Lay out a corpus of each spec, captions of all items and a tokenizer of text."""
    for kind, spec in specs.items():
        corpus(folder / kind, spec, **how)
    words.write_tokenizer(folder / "tokenizer.json")
    captions(folder / "captions.jsonl", [n for spec in specs.values() for n in names_of(spec, 7)])
    return folder


def expected(spec: CodeSpec, count: int = 7) -> dict[str, tuple[Codes, Header]]:
    found = {name: item_of(spec, n) for n, name in enumerate(names_of(spec, count))}
    return {name: each for n, (name, each) in enumerate(found.items()) if n != 4}


def write(
    folder: Path, request: Request, choices: Choices | None = None, **options: Any
) -> tuple[Totals, Prepared]:
    """Compose as the command does."""
    with prepare(request) as prepared:
        totals, _ = compose(
            folder,
            prepared.composer,
            prepared.vocabulary,
            choices or Choices(),
            job=prepared.job,
            sides=prepared.sides,
            texts=prepared.texts,
            **options,
        )
    return totals, prepared


def assert_holds(
    folder: Path, items: dict[str, tuple[Codes, Header]], *, texts: bool = False
) -> StreamReader:
    """Every item comes back with its codes and header, once, and every text."""
    reader = StreamReader(folder)
    reader.check()
    left, said = dict(items), {}
    names: dict[int, str] = {}
    for part in reader.parts():
        if isinstance(part, Text):
            said[part.document] = part.text
            continue
        assert isinstance(part, Block)
        codes, header = left.pop(part.name)
        names[part.document] = part.name
        assert part.header == header
        for level, found in zip(codes.levels, part.codes.levels, strict=True):
            np.testing.assert_array_equal(level, found)
    assert not left
    if texts:
        assert said == {number: text_of(name) for number, name in names.items()}
    return reader
