"""One document: its token ids, and what each stretch of them is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vqtok.codes.spec import LARGEST, integer
from vqtok.compose.block import Merged
from vqtok.corpus import items
from vqtok.corpus.items import checking
from vqtok.errors import CodesError

LISTING = "documents.jsonl"


class Part(NamedTuple):
    """Names a stretch of a document.

    Attributes:
        kind: "text", "image" or "audio".
        start: Position in the document.
        tokens: Its length, delimiters included.
        source: Of codes: the label of the item, with "corpus", "tokenizer" and "shapes"; of text
            {}.
        merged: What merging did to its codes; None: nothing, or not known: no listing has it.
    """

    kind: str
    start: int
    tokens: int
    source: Mapping[str, Any]
    merged: Merged | None = None


@dataclass(frozen=True)
class Listed:
    """Describes a document, as a line of the listing does.

    Attributes:
        tokens: Its length.
        parts: In order; what is between them are special tokens.
    """

    tokens: int
    parts: tuple[Part, ...]

    def line(self) -> bytes:
        """Return its line."""
        parts = [
            {
                "kind": kind,
                "start": start,
                "tokens": count,
                **({"source": source} if source else {}),
            }
            for kind, start, count, source, _ in self.parts
        ]
        return items.dump({"parts": parts, "tokens": self.tokens}).encode() + b"\n"

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Listed:
        """Read what ``line`` wrote.

        Raises:
            CodesError: a value that is missing, of the wrong type or at odds with the others.
        """
        with checking():
            tokens, end = integer(line["tokens"], "tokens", low=0), 0
            parts = []
            for each in line["parts"]:
                start = integer(each["start"], "start", low=end)
                count = integer(each["tokens"], "tokens", low=0)
                end = start + count
                source = each.get("source", {})
                if each["kind"] not in KINDS or not isinstance(source, dict):
                    raise CodesError("damaged: a part of no kind")
                parts.append(Part(each["kind"], start, count, source))
            if end > tokens or tokens > LARGEST:
                raise CodesError("damaged: parts beyond their document")
        return cls(tokens, tuple(parts))


KINDS = ("text", "image", "audio")


@dataclass(frozen=True, eq=False)
class Document:
    """Holds a document.

    Attributes:
        listed: What it consists of.
        pieces: Its ids, in order: int64.
    """

    listed: Listed
    pieces: tuple[np.ndarray, ...]

    @property
    def ids(self) -> np.ndarray:
        """Return its ids: (tokens,) int64."""
        return np.concatenate([np.zeros(0, np.int64), *self.pieces])


@dataclass(frozen=True)
class Lack:
    """Names an item or a document that is not in the stream.

    Attributes:
        name: Of the item; or of the document: its line.
        reason: Why.
    """

    name: str
    reason: str

    def line(self) -> bytes:
        """Return its line in a list."""
        return items.dump({"name": self.name, "reason": self.reason}).encode() + b"\n"


Outcome = Document | Lack


class Placed(NamedTuple):
    """Says what became of a candidate.

    Attributes:
        position: Of the candidate in its unit of work.
        outcome: Its document, or why it has none.
    """

    position: int
    outcome: Outcome


class Builder:
    """Puts a document together, part by part.

    Args:
        begin: Ids before it.
    """

    def __init__(self, begin: list[int]) -> None:
        self._pieces: list[np.ndarray] = [np.asarray(begin, np.int64)]
        self._parts: list[Part] = []
        self._length = len(begin)

    def add(
        self,
        kind: str,
        ids: np.ndarray,
        source: Mapping[str, Any],
        merged: Merged | None = None,
    ) -> None:
        """Add a part."""
        self._parts.append(Part(kind, self._length, len(ids), source, merged))
        self.glue(ids)

    def glue(self, ids: np.ndarray) -> None:
        """Add tokens that are no part."""
        self._pieces.append(ids)
        self._length += len(ids)

    def made(self) -> Document:
        """Return the document."""
        return Document(Listed(self._length, tuple(self._parts)), tuple(self._pieces))


def counts(listed: Listed) -> Iterator[tuple[str, int]]:
    """Yield how many tokens there are of each kind, "special" being those of no part."""
    rest = listed.tokens
    for part in listed.parts:
        yield part.kind, part.tokens
        rest -= part.tokens
    yield "special", rest
