"""Corpora → merges of their codes, in a folder that ``compose --merges`` takes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqtok import config
from vqtok.codes.spec import CodeSpec
from vqtok.compose import layout as layouts
from vqtok.compose.learning import MergeRecipe, learn_merges
from vqtok.compose.merges import FILE, MergesFile
from vqtok.compose.merging import require
from vqtok.compose.state import Totals, digest_of, is_stream
from vqtok.compose.vocabulary import Vocabulary
from vqtok.corpus import disk
from vqtok.corpus.index import is_corpus
from vqtok.corpus.names import INDEX
from vqtok.corpus.reader import CorpusReader
from vqtok.errors import CodesError, UsageError

KEY = "merges"
"""Of a recipe that trains merges, and not a network."""


@dataclass(frozen=True)
class _Recipe:
    merges: MergeRecipe
    about: str = ""


@dataclass(frozen=True)
class Task:
    """Says what merges are learned from.

    Attributes:
        readers: Of the corpora.
        recipe: What is learned.
        job: What the merges depend on, as JSON.
    """

    readers: tuple[CorpusReader, ...]
    recipe: MergeRecipe
    job: Mapping[str, Any]

    @property
    def items(self) -> int:
        """Count the items."""
        return sum(shard.count for each in self.readers for shard in each.info.shards)


def plan(data: Sequence[str], recipe: Mapping[str, Any], edits: Sequence[str]) -> Task:
    """Open corpora and check the recipe.

    Args:
        data: Folders of corpora.
        recipe: JSON of a recipe.
        edits: ``key=value`` changes.

    Raises:
        UsageError: something else than corpora, or an extra that is not installed.
        ConfigError: a recipe, or its layout, that does not fit.
        CodesError: a corpus that is unfinished or damaged.
    """
    require()
    made = config.parse(config.assign(recipe, edits), _Recipe, where="preset").merges
    for each in data:
        if is_stream(Path(each)) or not is_corpus(Path(each)):
            hint = "vqtok encode PHOTOS/ --format bin -o CORPUS/"
            raise UsageError(f"--data {each}", "merges are learned from corpora", hint=hint)
    readers = tuple(CorpusReader(Path(each)) for each in data)
    layout = config.dump(layouts.read(made.layout))
    corpora = [digest_of(Path(each) / INDEX) for each in data]
    job = {"corpora": corpora, "recipe": {**config.dump(made), "layout": layout}}
    return Task(readers, made, job)


def earlier(output: Path, task: Task) -> MergesFile | None:
    """Return the merges that a folder holds, if they are of the same task; None: it has none.

    Raises:
        ConfigError: damaged.
        UsageError: of another task.
    """
    if not os.path.lexists(output / FILE):
        return None
    found = MergesFile.read(output)
    other = [key for key, value in task.job.items() if found.job.get(key) != value]
    if other:
        reason = f"holds what was learned otherwise: {', '.join(sorted(other))}"
        raise UsageError(output, reason, hint="choose another folder, or -f starts over")
    return found


def learn(
    task: Task,
    on_items: Callable[[int], None] = lambda count: None,
    on_learn: Callable[[str], None] = lambda model: None,
) -> MergesFile:
    """Learn the merges; nothing is written.

    Raises:
        CodesError: damaged corpora, or nothing to learn.
    """
    return MergesFile.of(learn_merges(task.readers, task.recipe, on_items, on_learn), task.job)


def write(output: Path, merges: MergesFile) -> None:
    """Write ``merges.json``, which appears whole.

    Raises:
        CodesError: it cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        disk.put(output / FILE, merges.data, by_way_of=output / f".new-{FILE}")
    except OSError as error:
        raise CodesError(output, f"cannot write: {error.strerror or error}") from error


@dataclass(frozen=True)
class Saving:
    """Says what merging saves in a stream, or in what merges were learned from.

    Attributes:
        model: NAME of the tokenizer.
        fingerprint: Of it.
        merges: How many there are.
        items: Pictures or recordings.
        seconds: Of recordings; None for pictures.
        codes: Before merging.
        tokens: After it.
        bits: Nominal, of the codes: log2 K each.
        merged_bits: Nominal, of the tokens: log2 of all codes and merges, each.
    """

    model: str
    fingerprint: str
    merges: int
    items: int
    seconds: float | None
    codes: int
    tokens: int
    bits: int
    merged_bits: float

    def __str__(self) -> str:
        """Return a line for people."""
        name = self.model or self.fingerprint
        unit, units = "an image", float(self.items)
        if self.seconds is not None:
            unit, units = "a second", self.seconds
        numbers = (self.codes, self.tokens, self.bits, self.merged_bits)
        codes, tokens, bits, merged = (each / (units or 1.0) for each in numbers)
        return (
            f"{name}: {self.merges} merges: {codes:.1f} → {tokens:.1f} tokens {unit}, "
            f"{bits:.0f} → {merged:.0f} nominal bits"
        )


def saving_of_learned(merges: MergesFile) -> list[Saving]:
    """Say what merging saves in what the merges were learned from."""
    return [
        _saving(each.model, each.spec, each.symbols, len(each), each.learned)
        for each in merges.tokenizers
    ]


def savings(totals: Totals, vocabulary: Vocabulary) -> list[Saving]:
    """Say what merging saves in a stream, for each tokenizer that has merges."""
    found = []
    for number, own in enumerate(vocabulary.tokenizers):
        counted = totals.merged.get(str(number))
        if own.merged is not None and counted is not None:
            symbols = sum(each.size for each in own.ranges)
            found.append(_saving(own.model, own.spec, symbols, own.merged.size, counted))
    return found


def _saving(
    model: str, spec: CodeSpec, symbols: int, merges: int, counted: Mapping[str, int]
) -> Saving:
    own = {key: counted.get(key, 0) for key in ("items", "samples", "codes", "tokens", "bits")}
    seconds = own["samples"] / (spec.rate or 1.0) if spec.modality == "audio" else None
    cost = own["tokens"] * math.log2(symbols + merges)
    return Saving(
        model,
        spec.fingerprint,
        merges,
        own["items"],
        seconds,
        own["codes"],
        own["tokens"],
        own["bits"],
        cost,
    )
