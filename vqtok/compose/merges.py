"""Merges of codes, as byte-pair encoding learns them: ``merges.json``, and how ids are undone.

The symbols of a tokenizer are its codes, numbered through its ranges in the order of
``order.slots_of``; merge n makes symbol ``symbols + n`` of two earlier ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqtok import regular
from vqtok.codes.spec import CodeSpec, integer
from vqtok.compose.layout import BlockLayout
from vqtok.compose.ranges import TokenizerRanges
from vqtok.corpus.items import checking
from vqtok.errors import CodesError, ConfigError, VqtokError

FILE = "merges.json"

VERSION = 1

LONGEST = 1024
"""Codes of one merged token: a file that says more was made to fill the memory."""

COUNTED = ("items", "samples", "codes", "tokens", "bits")
"""What is known of the codes that merges were learned from, as ``Totals.merged`` has it."""

_MOST = 1 << 20
_MOST_BYTES = 1 << 28
_MOST_IDS = 1 << 28


@dataclass(frozen=True, eq=False)
class Merges:
    """Holds the merges of one tokenizer's codes.

    Attributes:
        model: NAME of the model; "" if unknown.
        spec: Of its codes.
        order: What of a layout gives codes their order and their symbols (``order_of``).
        symbols: Codes that have symbols of their own.
        pairs: (n, 2) int64 symbols.
        learned: What they were learned from: ``COUNTED``.
    """

    model: str
    spec: CodeSpec
    order: Mapping[str, Any]
    symbols: int
    pairs: np.ndarray
    learned: Mapping[str, int]

    def __len__(self) -> int:
        """Count the merges."""
        return len(self.pairs)

    def expansions(self) -> list[tuple[int, ...]]:
        """Return the codes' symbols that each merged symbol stands for.

        Raises:
            CodesError: symbols that are not there yet, tokens that are too long or alike.
        """
        found: list[tuple[int, ...]] = []
        total = 0

        def of(symbol: int) -> tuple[int, ...]:
            return (symbol,) if symbol < self.symbols else found[symbol - self.symbols]

        for number, (left, right) in enumerate(self.pairs.tolist()):
            if not 0 <= min(left, right) <= max(left, right) < self.symbols + number:
                raise CodesError(f"damaged: merge {number} of symbols that are not there")
            whole = of(left) + of(right)
            total += len(whole)
            if len(whole) > LONGEST or total > _MOST_BYTES:
                raise CodesError(f"damaged: merge {number} of more than {LONGEST} codes")
            found.append(whole)
        if len(set(found)) < len(found):
            raise CodesError("damaged: two merges of the same codes")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return JSON data; ``read`` reads it back."""
        return {
            "model": self.model,
            "spec": self.spec.to_json(),
            "order": dict(self.order),
            "symbols": self.symbols,
            "pairs": self.pairs.tolist(),
            "learned": dict(self.learned),
        }


@dataclass(frozen=True, eq=False)
class MergesFile:
    """Holds a ``merges.json``.

    Attributes:
        tokenizers: The merges of each.
        job: What they depend on, as JSON.
        data: Content of the file.
    """

    tokenizers: tuple[Merges, ...]
    job: Mapping[str, Any]
    data: bytes

    @property
    def sha256(self) -> str:
        """Return the hash of the file."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def of(cls, tokenizers: Sequence[Merges], job: Mapping[str, Any]) -> MergesFile:
        """Make the content of a file."""
        whole = {"vqtok_merges": VERSION, "job": job}
        whole["tokenizers"] = [each.to_json() for each in tokenizers]
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return cls(tuple(tokenizers), job, text.encode() + b"\n")

    @classmethod
    def read(cls, path: Path) -> MergesFile:
        """Read ``merges.json``, or the one in a folder.

        Raises:
            ConfigError: unreadable, or something else.
        """
        place = path / FILE if path.is_dir() else path
        try:
            data = regular.read(place, most=_MOST_BYTES)
        except OSError as error:
            raise ConfigError(place, f"cannot read: {error.strerror or error}") from error
        try:
            whole = json.loads(data)
            with checking():
                if integer(whole["vqtok_merges"], "vqtok_merges") > VERSION:
                    raise CodesError("made by a newer vqtok")
                made = cls(tuple(map(_merges, whole["tokenizers"])), dict(whole["job"]), data)
            for each in made.tokenizers:
                if not each.expansions():
                    raise CodesError("without a merge")
        except (ValueError, RecursionError) as error:
            raise ConfigError(place, "not merges of vqtok: not JSON") from error
        except VqtokError as error:
            raise ConfigError(place, f"not merges of vqtok: {error.reason}") from error
        return made


def _merges(data: Any) -> Merges:
    pairs = data["pairs"]
    if not isinstance(pairs, list) or len(pairs) > _MOST:
        raise ValueError(f"pairs are no list of at most {_MOST}")
    for pair in pairs:
        if not isinstance(pair, list) or [type(each) for each in pair] != [int, int]:
            raise ValueError("a pair is not two integers")
        integer(max(pair), "symbol", low=0, high=1 << 31)
        integer(min(pair), "symbol", low=0)
    return Merges(
        str(data["model"]),
        CodeSpec.from_json(data["spec"]),
        dict(data["order"]),
        integer(data["symbols"], "symbols", high=1 << 31),
        np.array(pairs, np.int64).reshape(-1, 2),
        {key: integer(data["learned"][key], key, low=0) for key in COUNTED},
    )


def order_of(layout: BlockLayout) -> dict[str, Any]:
    """Return what of a layout gives codes their order and their symbols, as JSON."""
    own = {"order": layout.order, "stages": layout.stages, "ranges": layout.ranges}
    return {**own, "delays": list(layout.delays)}


def check_order(merges: Merges, layout: BlockLayout) -> None:
    """Refuse merges of codes in another order, or with other ids.

    Raises:
        ConfigError: saying what differs.
    """
    for key, value in order_of(layout).items():
        if merges.order.get(key) != value:
            name = f"layout of {merges.spec.modality}.{key}"
            learned = f"{merges.order.get(key)!r} in the layout of the merges"
            hint = "learn them anew with --set merges.layout=…"
            raise ConfigError(name, f"{value!r}, and {learned}", hint=hint)


def symbols_of(own: TokenizerRanges) -> np.ndarray:
    """Return the token id of each symbol: (symbols,) int64."""
    return np.concatenate([np.arange(each.size) + each.offset for each in own.ranges])


def undoing_of(tokenizers: Sequence[TokenizerRanges], sha256: str, folder: Path) -> Undoing:
    """Return what undoes the merges of a vocabulary.

    Args:
        tokenizers: Of the vocabulary.
        sha256: Of its ``merges.json``; "" without.
        folder: Where that lies.

    Raises:
        ConfigError: it is not there, or another.
    """
    if not sha256:
        return Undoing(tokenizers, [None] * len(tokenizers))
    file = MergesFile.read(folder / FILE)
    found = []
    for own in tokenizers:
        each = next((each for each in file.tokenizers if each.spec == own.spec), None)
        if own.merged is not None and (each is None or len(each) != own.merged.size):
            raise ConfigError(folder / FILE, "not the merges of the vocabulary")
        found.append(each)
    if file.sha256 != sha256:
        raise ConfigError(folder / FILE, "not the merges of the vocabulary")
    return Undoing(tokenizers, found)


class Undone(NamedTuple):
    """Holds token ids without merged ones.

    Attributes:
        ids: (m,) int64.
        places: (m,) position that each had among the merged ids.
    """

    ids: np.ndarray
    places: np.ndarray


class Undoing:
    """Puts codes in the places of merged ids.

    Args:
        tokenizers: With the ranges of merged ids, which follow each other.
        merges: Of each tokenizer; None: it has none.
    """

    def __init__(
        self, tokenizers: Sequence[TokenizerRanges], merges: Sequence[Merges | None]
    ) -> None:
        ids: list[np.ndarray] = []
        lengths: list[int] = []
        spans = [each.merged for each in tokenizers if each.merged is not None]
        self._first = spans[0].offset if spans else 0
        for own, each in zip(tokenizers, merges, strict=True):
            if own.merged is not None and each is not None:
                symbols = symbols_of(own)
                for expansion in each.expansions():
                    ids.append(symbols[list(expansion)])
                    lengths.append(len(expansion))
        self._ids = np.concatenate([np.zeros(0, np.int64), *ids])
        self._lengths = np.array(lengths, np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths

    def __call__(self, ids: np.ndarray) -> Undone:
        """Return ids of codes and of all else.

        Args:
            ids: (n,) below the size of the vocabulary.

        Raises:
            CodesError: they stand for more codes than a list may hold.
        """
        ids = ids.astype(np.int64)
        merged = (ids >= self._first) & (ids < self._first + len(self._lengths))
        if not merged.any():
            return Undone(ids, np.arange(len(ids)))
        numbers = np.where(merged, ids - self._first, 0)
        counts = np.where(merged, self._lengths[numbers], 1)
        total = int(counts.sum())
        if total > _MOST_IDS:
            raise CodesError(f"{total} codes in one list")
        places = np.repeat(np.arange(len(ids)), counts)
        within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        inner = merged[places]
        found = ids[places]
        found[inner] = self._ids[self._starts[numbers[places[inner]]] + within[inner]]
        return Undone(found, places)
