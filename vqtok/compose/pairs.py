"""Documents of one item each: its codes alone, or with its text before or behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from vqtok.compose.block import Blocks
from vqtok.compose.document import Builder, Lack, Outcome, Placed
from vqtok.compose.text import TextTokenizer
from vqtok.compose.texts import Texts, Unread
from vqtok.compose.vocabulary import TEXT, Mergers, Vocabulary
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.runs import Run
from vqtok.errors import CodesError

Mode = Literal["codes", "text-to-codes", "codes-to-text"]

MODES: tuple[str, ...] = get_args(Mode)

NO_TEXT, EMPTY_TEXT = "no text", "its text is empty"


@dataclass(frozen=True)
class Corpus:
    """Names a corpus that is composed.

    Attributes:
        path: Of its folder.
        reader: Of it.
        tokenizer: Its number in the vocabulary.
    """

    path: Path
    reader: CorpusReader
    tokenizer: int


class Pairs:
    """Makes a document of every item of corpora; a unit of work is a shard.

    Args:
        corpora: In the order of the stream.
        vocabulary: Of all tokens.
        mode: What a document consists of.
        text: Tokenizer, where there is text.
        texts: Where they are found.
        mergers: Of each tokenizer of the vocabulary.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        vocabulary: Vocabulary,
        *,
        mode: Mode,
        text: TextTokenizer | None = None,
        texts: Texts | None = None,
        mergers: Mergers = None,
    ) -> None:
        self._corpora, self._vocabulary, self._mode = corpora, vocabulary, mode
        self._text, self._texts = text, texts
        self._blocks = [vocabulary.blocks(each.tokenizer, text, mergers) for each in corpora]
        layout, special = vocabulary.layout, vocabulary.special
        self._begin = [] if layout.begin is None else [special[layout.begin]]
        self._end = np.array([] if layout.end is None else [special[layout.end]], np.int64)
        self.units = [
            (number, shard)
            for number, corpus in enumerate(corpora)
            for shard in range(len(corpus.reader.info.shards))
        ]

    def __len__(self) -> int:
        """Count the units."""
        return len(self.units)

    def items(self, unit: int) -> int:
        """Count the items of a unit, for progress."""
        number, shard = self.units[unit]
        return self._corpora[number].reader.info.shards[shard].count

    def compose(self, unit: int, wanted: np.ndarray | None = None) -> Iterator[Placed]:
        """Yield what becomes of the items of a unit.

        Raises:
            CodesError: a damaged shard.
        """
        number, shard = self.units[unit]
        reader, blocks = self._corpora[number].reader, self._blocks[number]
        first = reader.info.shards[shard].first
        for run in reader.runs(shard):
            some: Run | None = run
            if wanted is not None:
                some = run.some([bool(wanted[item.number - first]) for item in run.items])
            if some is not None:
                outcomes = self._run(some, number, blocks)
                for item, outcome in zip(some.items, outcomes, strict=True):
                    yield Placed(item.number - first, outcome)

    def _run(self, run: Run, number: int, blocks: Blocks) -> Iterator[Outcome]:
        try:
            block = blocks.of(run.shapes)
        except CodesError as error:
            if self._texts is not None:
                self._texts.of(run.items)  # their texts have items, whatever becomes of these
            for item in run.items:
                yield Lack(item.name, error.reason)
            return
        texts = self._tokens(run)
        rows = blocks.tokens(block, run.flat, run.channels)
        kind = blocks.spec.modality
        shapes = [list(shape) for shape in block.shapes]
        for item, row, text in zip(run.items, rows, texts, strict=True):
            if isinstance(text, str):
                yield Lack(item.name, text)
                continue
            made = Builder(self._begin)
            if self._mode == "text-to-codes" and text is not None:
                made.add("text", text, {})
            source = {
                **item.label,
                "corpus": number,
                "tokenizer": self._corpora[number].tokenizer,
                "shapes": shapes,
            }
            made.add(kind, row.ids, source, row.merged)
            if self._mode == "codes-to-text" and text is not None:
                made.add("text", text, {})
            made.glue(self._end)
            yield made.made()

    def _tokens(self, run: Run) -> list[np.ndarray | str | None]:
        """Return for each item the ids of its text, or why it has none; None: it needs none."""
        if self._mode == "codes" or self._text is None or self._texts is None:
            return [None] * len(run.items)
        texts = self._texts.of(run.items)
        ids = self._text.encode_many([each for each in texts if isinstance(each, str)])
        encoded = iter(as_texts(ids, self._vocabulary))
        found: list[np.ndarray | str | None] = []
        for each in texts:
            if isinstance(each, Unread):
                found.append(each.reason)
            elif each is None:
                found.append(NO_TEXT)
            else:
                own = next(encoded)
                found.append(own if len(own) else EMPTY_TEXT)
        return found


def as_texts(ids: Sequence[Sequence[int]], vocabulary: Vocabulary) -> list[np.ndarray | str]:
    """Return the ids of each text; or why they are none: they mean something else here."""
    ends = np.cumsum([0, *map(len, ids)])
    whole = np.fromiter(chain.from_iterable(ids), np.int64, int(ends[-1]))
    other = vocabulary.kinds(whole) != TEXT
    found: list[np.ndarray | str] = []
    for start, stop in pairwise(ends.tolist()):
        if other[start:stop].any():
            ident = int(whole[start + int(other[start:stop].argmax())])
            found.append(f"its text holds a special token or a code (id {ident})")
        else:
            found.append(whole[start:stop])
    return found
