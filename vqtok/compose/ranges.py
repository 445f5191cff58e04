"""Ranges of token ids: disjoint, named, and all that reading a stream needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vqtok.codes.spec import CodeSpec
from vqtok.compose.order import Slot


class Span(NamedTuple):
    """Names the ids offset … offset + size - 1."""

    offset: int
    size: int


@dataclass(frozen=True)
class CodeRange(Slot):
    """Names the ids of one kind of code.

    Attributes:
        offset: Id of code 0.
    """

    offset: int


@dataclass(frozen=True)
class TokenizerRanges:
    """Names the ids of one tokenizer's codes.

    Attributes:
        model: NAME of the model; "" if unknown.
        spec: Of its codes, signed; its depth is the one that corpora have.
        ranges: As ``order.slots_of`` lists them.
        merged: Ids of merges of its codes, or None.
    """

    model: str
    spec: CodeSpec
    ranges: tuple[CodeRange, ...]
    merged: Span | None = None
