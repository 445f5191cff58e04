"""Documents → a folder that training reads: unit by unit, then in their order and layout."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vqtok.compose.document import LISTING, Lack, Outcome, Placed, counts
from vqtok.compose.outputs import OUTPUTS, Bin
from vqtok.compose.pairs import EMPTY_TEXT, NO_TEXT
from vqtok.compose.selection import Selection
from vqtok.compose.state import MARK, State, Totals
from vqtok.compose.texts import Texts
from vqtok.compose.view import View
from vqtok.compose.vocabulary import FILE, Vocabulary
from vqtok.corpus import disk
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.index import read_json
from vqtok.corpus.items import dump, lines
from vqtok.corpus.names import INDEX
from vqtok.corpus.runs import RunItem
from vqtok.errors import CodesError, UsageError

TOKENS, SIZES, UNUSED = "tokens.bin", "sizes", "unused.jsonl"
FAILED, MISSING = "failed.jsonl", "missing.jsonl"
GROWING = (TOKENS, LISTING, SIZES, FAILED, MISSING)

PREFIX = "tokens"

LACKING = (NO_TEXT, EMPTY_TEXT)
"""Reasons of items whose partner is missing."""


class Composer(Protocol):
    """Makes documents, a unit of work at a time; a unit is always the same."""

    def __len__(self) -> int:
        """Count the units."""
        ...

    def items(self, unit: int) -> int:
        """Count the candidates of a unit: what may become documents."""
        ...

    def compose(self, unit: int, wanted: np.ndarray | None = None) -> Iterator[Placed]:
        """Yield what becomes of the candidates of a unit.

        Args:
            unit: Its number.
            wanted: Which candidates, bool; None: all.
        """
        ...


@dataclass(frozen=True)
class Choices:
    """Choose what becomes of documents.

    Attributes:
        format: One of ``OUTPUTS``.
        pack: Length of packed sequences; None: one document each.
        shuffle: Seed of the order; None: that of the corpora.
        split: Part of the documents that is for validation; 0: no split.
        shard: (i, n): the i-th of n parts, which follow each other.
    """

    format: str = "bin"
    pack: int | None = None
    shuffle: int | None = None
    split: float = 0.0
    shard: tuple[int, int] = (0, 1)

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: saying what.
        """
        if self.format not in OUTPUTS:
            known = ", ".join(OUTPUTS)
            raise UsageError(f"--format {self.format}", "unknown format", hint=f"known: {known}")
        OUTPUTS[self.format].require()
        if not 0 <= self.split < 1:
            raise UsageError(f"--split {self.split}", "not a part between 0 and 1")

    def selection(self, composer: Composer) -> Selection:
        """Return what chooses the documents."""
        counts = [composer.items(unit) for unit in range(len(composer))]
        return Selection(counts, shuffle=self.shuffle, split=self.split, shard=self.shard)


def rehearse(
    composer: Composer, choices: Choices, on_items: Callable[[int], None] = lambda count: None
) -> Totals:
    """Count what would be composed; nothing is written."""
    totals = Totals()
    selection = choices.selection(composer)
    for unit in selection.units:
        for placed in composer.compose(unit, selection.wanted(unit)):
            _count(totals, placed.outcome)
        on_items(composer.items(unit))
    return totals


def compose(
    folder: Path,
    composer: Composer,
    vocabulary: Vocabulary,
    choices: Choices,
    *,
    job: Mapping[str, Any],
    sides: Mapping[str, bytes],
    texts: Texts | None = None,
    restart: bool = False,
    command: str = "",
    on_begin: Callable[[int], None] = lambda done: None,
    on_items: Callable[[int], None] = lambda count: None,
) -> tuple[Totals, bool]:
    """Write a stream, or go on with one.

    Args:
        folder: Made if missing.
        composer: Makes its documents.
        vocabulary: Of all ids.
        choices: What becomes of documents.
        job: JSON identity of all that the stream depends on.
        sides: Small files that lie beside: name → content.
        texts: Of its items: those of none are listed.
        restart: Delete the stream that the folder holds.
        command: What a person types to go on.
        on_begin: Called with the items that an earlier run has done.
        on_items: Called with the items of each unit.

    Returns:
        Sums over all documents, and whether an earlier run had finished.

    Raises:
        UsageError: a folder that holds something else.
        CodesError: damaged corpora, or a folder that cannot be written.
    """
    choices.check()
    whole = {**job, "choices": asdict(choices), "vocabulary": vocabulary.to_json()}
    try:
        state = State(folder, whole, GROWING, restart=restart, command=command)
    except OSError as error:
        raise CodesError(folder, f"cannot write: {error.strerror or error}") from error
    try:
        if state.complete:
            return read_totals(folder), True
        selection = choices.selection(composer)
        units = selection.units
        on_begin(sum(composer.items(unit) for unit in units[: state.done]))
        resumed = state.done > 0
        for unit in units[state.done :]:
            placed = composer.compose(unit, selection.wanted(unit))
            first = selection.first(unit)
            state.append(_unit(state.totals, placed, first, vocabulary.dtype))
            on_items(composer.items(unit))
        unused: list[str] = []
        if texts is not None and choices.shard[1] == 1:
            if resumed:
                _look_up(state, texts)
            unused = list(texts.unused())
        _finish(state, vocabulary, choices, selection, whole, sides, unused)
        return state.totals, False
    except OSError as error:
        raise CodesError(folder, f"cannot write: {error.strerror or error}") from error
    finally:
        state.close()


def read_totals(folder: Path) -> Totals:
    """Read the sums of a complete stream.

    Raises:
        CodesError: damaged.
    """
    return Totals.from_json(read_json(folder / INDEX).get("totals", {}))


def _unit(totals: Totals, candidates: Iterator[Placed], first: int, dtype: str) -> dict[str, bytes]:
    """Return what a unit adds to each growing file."""
    ids: list[np.ndarray] = []
    listing: list[bytes] = []
    failed: list[bytes] = []
    missing: list[bytes] = []
    sizes = array("i")
    for position, outcome in candidates:
        _count(totals, outcome)
        if isinstance(outcome, Lack):
            (missing if outcome.reason in LACKING else failed).append(outcome.line())
            continue
        line = outcome.listed.line()
        ids.extend(outcome.pieces)
        listing.append(line)
        sizes.extend((outcome.listed.tokens, len(line), first + position))
    kind = np.dtype(dtype).newbyteorder("<")
    tokens = np.concatenate(ids).astype(kind) if ids else np.zeros(0, kind)
    return {
        TOKENS: tokens.tobytes(),
        LISTING: b"".join(listing),
        SIZES: np.asarray(sizes, "<i4").tobytes(),
        FAILED: b"".join(failed),
        MISSING: b"".join(missing),
    }


def _count(totals: Totals, outcome: Outcome) -> None:
    if isinstance(outcome, Lack):
        if outcome.reason in LACKING:
            totals.missing += 1
        else:
            totals.failed += 1
        return
    listed = outcome.listed
    if listed.tokens >= 1 << 31:
        raise CodesError("a document of more tokens than an index can hold")
    totals.documents += 1
    totals.tokens += listed.tokens
    totals.longest = max(totals.longest, listed.tokens)
    for kind, tokens in counts(listed):
        totals.kinds[kind] = totals.kinds.get(kind, 0) + tokens
    for part in listed.parts:
        totals.items[part.kind] = totals.items.get(part.kind, 0) + 1
        if part.merged is not None:
            source = part.source
            totals.add_merged(source["tokenizer"], part.kind, source["extent"], part.merged)


def _finish(
    state: State,
    vocabulary: Vocabulary,
    choices: Choices,
    selection: Selection,
    job: Mapping[str, Any],
    sides: Mapping[str, bytes],
    unused: Sequence[str],
) -> None:
    state.totals.unused = len(unused)
    files: list[ByteRange] = []
    splits: dict[str, int] = {}
    sizes = _sizes(state)
    if _is_as_composed(choices):
        output = Bin()
        files += output.index(state, PREFIX, sizes[:, 0], vocabulary.dtype)
        files.append(state.publish(LISTING, f"{PREFIX}.jsonl"))
        files.append(state.publish(TOKENS, f"{PREFIX}.bin"))
        splits[PREFIX] = len(sizes)
    else:
        own = OUTPUTS[choices.format]
        tokens, listing = state.path / TOKENS, state.path / LISTING
        with View(tokens, listing, sizes[:, :2], vocabulary.dtype) as view:
            for prefix, numbers in _splits(sizes[:, 2], selection, split=choices.split > 0).items():
                sequences = view.sequences(numbers.tolist(), choices.pack)
                packed = choices.pack is not None
                files += own.write(state, prefix, sequences, vocabulary.dtype, packed=packed)
                splits[prefix] = len(numbers)
    for name, count in ((FAILED, state.totals.failed), (MISSING, state.totals.missing)):
        if count:
            files.append(state.publish(name, name))
    small = {FILE: vocabulary.text_of().encode(), **sides}
    if unused:
        small[UNUSED] = b"".join(dump({"key": key}).encode() + b"\n" for key in unused)
    for name, data in small.items():
        with state.fresh(name) as out:
            out.write(data)
        files.append(out.written)
    state.finish(
        {
            MARK: 1,
            "job": job,
            "format": choices.format,
            "totals": asdict(state.totals),
            "splits": splits,
            "files": [asdict(each) for each in sorted(files, key=lambda each: each.path)],
        }
    )


def _look_up(state: State, texts: Texts) -> None:
    """Look up the items of an earlier run again, so that what is unused is known."""
    for name, source in ((LISTING, _named), (FAILED, _failed)):
        if not state.lengths[name]:
            continue
        found: list[RunItem] = []
        path = next(p for p in (state.path / name, state.folder / _final(name)) if p.is_file())
        for line in lines(path, start=0, size=state.lengths[name]):
            found += (RunItem(0, each, {}, {}) for each in source(line))
            if len(found) >= 1000:
                texts.of(found)
                found = []
        texts.of(found)


def _final(name: str) -> str:
    return f"{PREFIX}.jsonl" if name == LISTING else name


def _named(line: Mapping[str, Any]) -> Iterator[str]:
    for part in line["parts"]:
        if "source" in part:
            yield part["source"]["name"]


def _failed(line: Mapping[str, Any]) -> Iterator[str]:
    yield line["name"]


def _is_as_composed(choices: Choices) -> bool:
    """Tell whether the files that grew are the stream."""
    plain = choices.pack is None and choices.shuffle is None and not choices.split
    return choices.format == "bin" and plain


def _sizes(state: State) -> np.ndarray:
    if not state.lengths[SIZES]:
        return np.zeros((0, 3), "<i4")
    with disk.regular(state.path / SIZES) as stream:
        data = stream.read(state.lengths[SIZES])
    if len(data) != state.lengths[SIZES]:
        raise CodesError(state.path / SIZES, "missing or cut", hint="-f starts over")
    return np.frombuffer(data, "<i4").reshape(-1, 3)


def _splits(candidates: np.ndarray, selection: Selection, *, split: bool) -> dict[str, np.ndarray]:
    """Return the numbers of the documents of each split, in order."""
    numbers = selection.order(candidates)
    if not split:
        return {PREFIX: numbers}
    held = selection.validation(candidates)[numbers]
    return {"train": numbers[~held], "validation": numbers[held]}
