"""One vocabulary for text, special tokens and the codes of every tokenizer: ``vocabulary.json``.

Ranges are disjoint; together with the reserved ids and what nothing names, they are all ids below
``size``. Tokens that the text tokenizer already has under their names keep their ids; the ranges of
text leave those out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vqtok import config
from vqtok.codes.spec import CodeSpec, integer
from vqtok.compose import order
from vqtok.compose.block import Blocks
from vqtok.compose.layout import Layout
from vqtok.compose.merging import Merger
from vqtok.compose.ranges import CodeRange, Span, TokenizerRanges
from vqtok.compose.text import TextTokenizer
from vqtok.errors import ConfigError, UsageError, VqtokError

FILE = "vocabulary.json"
TOKENIZER = "tokenizer.json"

VERSION = 1

MOST = (1 << 31) - 1
"""Ids: readers of Megatron's files hold them as int32."""

Mergers = Sequence[Merger | None] | None
"""Of each tokenizer of a vocabulary what merges its codes; None: nothing is merged."""

TEXT, SPECIAL, RESERVED = -1, -2, -3
"""Kinds of ids beside the codes of tokenizers, which have the numbers from 0."""


@dataclass(frozen=True)
class Vocabulary:
    """Says what every token id means.

    Attributes:
        layout: That made it.
        text: Ranges of text.
        text_size: Ids of the text tokenizer, those of its that mean something else here included.
        text_sha256: Of its ``tokenizer.json``; "" without text.
        reserved: Ids that stay free.
        special: Name → id.
        tokenizers: In order of their ids; merges of their codes have the last ids of all.
        size: All ids are below it.
        merges_sha256: Of the ``merges.json`` of these; "" without.
    """

    layout: Layout
    text: tuple[Span, ...]
    text_size: int
    text_sha256: str
    reserved: Span
    special: Mapping[str, int]
    tokenizers: tuple[TokenizerRanges, ...]
    size: int
    merges_sha256: str = ""

    @property
    def dtype(self) -> str:
        """Return "uint16" or, where ids need it, "int32"."""
        return "uint16" if self.size <= 1 << 16 else "int32"

    @property
    def token_bytes(self) -> int:
        """Return the bytes of one token."""
        return np.dtype(self.dtype).itemsize

    def blocks(
        self, number: int, text: TextTokenizer | None = None, mergers: Mergers = None
    ) -> Blocks:
        """Return what makes blocks of a tokenizer's codes."""
        merger = None if mergers is None else mergers[number]
        own = self.tokenizers[number]
        size_text = None if text is None else text.encode
        return Blocks(own, self.layout.block(own.spec.modality), self.special, size_text, merger)

    def find(self, spec: CodeSpec) -> int:
        """Return the number of the tokenizer of a spec.

        Raises:
            UsageError: the vocabulary does not have it.
        """
        for number, each in enumerate(self.tokenizers):
            if each.spec == spec:
                return number
        raise UsageError(f"the vocabulary has no tokenizer {spec.fingerprint or spec.modality!r}")

    @cached_property
    def _kinds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where each run of ids of one kind begins, and the kinds; nothing: ``RESERVED``."""
        pieces = sorted((span.offset, span.size, kind) for span, kind in self.spans())
        starts, kinds, end = [0], [RESERVED], 0
        for offset, size, kind in pieces:
            if offset > end:
                starts.append(end)
                kinds.append(RESERVED)
            starts.append(offset)
            kinds.append(kind)
            end = offset + size
        starts.append(end)
        kinds.append(RESERVED)
        return np.array(starts), np.array(kinds)

    def kinds(self, ids: np.ndarray) -> np.ndarray:
        """Return for each id ``TEXT``, ``SPECIAL``, ``RESERVED`` or its tokenizer's number.

        Args:
            ids: (n,), none negative.
        """
        starts, kinds = self._kinds
        found: np.ndarray = kinds[np.searchsorted(starts, ids, side="right") - 1]
        return found

    def spans(self) -> Iterator[tuple[Span, int]]:
        """Yield every range and its kind."""
        yield from ((span, TEXT) for span in self.text)
        yield from ((Span(each, 1), SPECIAL) for each in self.special.values())
        if self.reserved.size:
            yield self.reserved, RESERVED
        for number, tokenizer in enumerate(self.tokenizers):
            yield from ((Span(each.offset, each.size), number) for each in tokenizer.ranges)
            if tokenizer.merged is not None:
                yield tokenizer.merged, number

    def to_json(self) -> dict[str, Any]:
        """Return JSON data; ``from_json`` reads it back."""
        return {
            "vqtok_vocabulary": VERSION,
            "size": self.size,
            "dtype": self.dtype,
            "layout": config.dump(self.layout),
            "text": {
                "ranges": [list(each) for each in self.text],
                "size": self.text_size,
                "sha256": self.text_sha256,
            },
            "reserved": list(self.reserved),
            "special": dict(self.special),
            "tokenizers": [
                {
                    "model": each.model,
                    "spec": each.spec.to_json(),
                    "ranges": [dict(vars(own)) for own in each.ranges],
                    **({} if each.merged is None else {"merged": list(each.merged)}),
                }
                for each in self.tokenizers
            ],
            **({"merges": {"sha256": self.merges_sha256}} if self.merges_sha256 else {}),
        }

    def text_of(self) -> str:
        """Return the text of ``vocabulary.json``."""
        return json.dumps(self.to_json(), sort_keys=True, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, subject: object = FILE) -> Vocabulary:
        """Read what ``to_json`` wrote, and check that it holds together.

        Raises:
            ConfigError: a newer version, a value of the wrong type, or ranges that are not those of
                the tokenizers, or overlap.
        """
        try:
            if integer(data["vqtok_vocabulary"], "vqtok_vocabulary") > VERSION:
                raise ConfigError(
                    subject, "made by a newer vqtok", hint="pip install --upgrade vqtok"
                )
            layout = config.parse(data["layout"], Layout, where=f"{subject}: layout")
            tokenizers = tuple(_tokenizer(each) for each in data["tokenizers"])
            text = data["text"]
            made = cls(
                layout,
                tuple(_span(each) for each in text["ranges"]),
                integer(text["size"], "size", low=0, high=MOST),
                str(text["sha256"]),
                _span(data["reserved"]),
                {str(k): integer(v, k, low=0, high=MOST) for k, v in data["special"].items()},
                tokenizers,
                integer(data["size"], "size", low=0, high=MOST),
                str(data["merges"]["sha256"]) if "merges" in data else "",
            )
            made.check()
        except KeyError as error:
            raise ConfigError(subject, f"damaged: {error} is missing") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(subject, f"damaged: {error}") from error
        return made

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read ``vocabulary.json``, or the one in a folder.

        Raises:
            ConfigError: unreadable, or as ``from_json``.
        """
        place = path / FILE if path.is_dir() else path
        return cls.from_json(config.read_json(place), subject=place)

    def check(self) -> None:
        """Refuse ranges that overlap, or are not those that the layout and the specs need.

        Raises:
            ValueError: saying which.
        """
        end, last = 0, "the first id"
        for (offset, size), kind in sorted(self.spans()):
            name = _kind_name(kind)
            if offset < end:
                raise ValueError(f"ids {offset} to {end - 1} are of {last} and of {name}")
            end, last = offset + size, name
        if end > self.size:
            raise ValueError(f"ids up to {end - 1}, and a size of {self.size}")
        for each in self.tokenizers:
            block = self.layout.block(each.spec.modality)
            order.check(each.spec, block)
            slots = [order.Slot(o.level, o.stage, o.slot, o.size) for o in each.ranges]
            if slots != order.slots_of(each.spec, block):
                raise ValueError(f"the ranges of {each.spec.fingerprint!r} are not its codebooks'")
        merged = [each.merged for each in self.tokenizers if each.merged is not None]
        if bool(merged) != bool(self.merges_sha256):
            raise ValueError("merged ids without merges, or the other way round")
        for one, two in pairwise(merged):
            if one.offset + one.size != two.offset:
                raise ValueError("ids of merges do not follow each other")
        modalities = frozenset(each.spec.modality for each in self.tokenizers)
        for name in self.layout.all_specials(modalities):
            if name not in self.special:
                raise ValueError(f"special token {name!r} has no id")


def _kind_name(kind: int) -> str:
    names = {TEXT: "text", SPECIAL: "special tokens", RESERVED: "reserved ids"}
    return names.get(kind, f"tokenizer {kind}")


def _span(data: Any) -> Span:
    offset, size = data
    return Span(
        integer(offset, "offset", low=0, high=MOST), integer(size, "size", low=0, high=MOST)
    )


def _tokenizer(data: Any) -> TokenizerRanges:
    def optional(value: Any, key: str) -> int | None:
        return None if value is None else integer(value, key, low=0)

    ranges = tuple(
        CodeRange(
            str(each["level"]),
            optional(each["stage"], "stage"),
            optional(each["slot"], "slot"),
            integer(each["size"], "size", high=MOST),
            integer(each["offset"], "offset", low=0, high=MOST),
        )
        for each in data["ranges"]
    )
    try:
        merged = _span(data["merged"]) if "merged" in data else None
        spec = CodeSpec.from_json(data["spec"])
        return TokenizerRanges(str(data["model"]), spec, ranges, merged)
    except VqtokError as error:
        raise ValueError(str(error)) from error
