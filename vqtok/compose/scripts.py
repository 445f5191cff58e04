"""Documents that people write: interleaved parts, or turns of a chat, one JSON object a line.

``{"document": ["A cat", {"image": "cat.png"}, "and its sound", {"audio": "meow.wav"}]}`` is put
together in that order. ``{"messages": [{"role": "user", "content": "What is <image>?"}], "images":
["cat.png"]}`` has placeholders ``<image>`` and ``<audio>`` for what its lists name, in order; the
token "<|ROLE|>", of the layout or of the text tokenizer, opens a turn, "<|end_of_turn|>" closes it.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqtok import regular
from vqtok.compose.document import Builder, Lack, Outcome, Placed
from vqtok.compose.items import Items
from vqtok.compose.pairs import Corpus, as_texts
from vqtok.compose.text import TextTokenizer
from vqtok.compose.vocabulary import Mergers, Vocabulary
from vqtok.errors import CodesError, ConfigError, VqtokError

UNIT = 1000
"""Lines of a unit of work."""

END_OF_TURN = "<|end_of_turn|>"

_LONGEST_LINE = 1 << 24
_PLACEHOLDER = re.compile(r"<(image|audio)>")

Piece = tuple[str, str]
""""text" and the text, "special" and the token, or "image" or "audio" and the item's name."""


class Scripts:
    """Makes documents of a file of them; a unit of work is a thousand lines.

    Args:
        path: JSON Lines.
        corpora: With the items that it names.
        vocabulary: Of all tokens.
        text: Tokenizer of text.
        mergers: Of each tokenizer of the vocabulary.

    Raises:
        ConfigError: a file that cannot be read.
        UsageError, CodesError: of the corpora.
    """

    def __init__(
        self,
        path: Path,
        corpora: Sequence[Corpus],
        vocabulary: Vocabulary,
        text: TextTokenizer,
        mergers: Mergers = None,
    ) -> None:
        self._path, self._corpora, self._vocabulary = path, corpora, vocabulary
        self._text = text
        self._items = Items(corpora)
        self._blocks = [vocabulary.blocks(each.tokenizer, text, mergers) for each in corpora]
        layout, special = vocabulary.layout, vocabulary.special
        self._begin = [] if layout.begin is None else [special[layout.begin]]
        self._end = [] if layout.end is None else [special[layout.end]]
        self._starts = array("q", [0])
        self._count = 0
        try:
            with regular.opened(path) as stream:
                while line := stream.readline(_LONGEST_LINE):
                    if len(line) == _LONGEST_LINE:
                        raise ConfigError(path, f"a line of {_LONGEST_LINE >> 20} MB")
                    self._count += 1
                    if self._count % UNIT == 0:
                        self._starts.append(stream.tell())
        except OSError as error:
            raise ConfigError(path, f"cannot read: {error.strerror or error}") from error

    def __len__(self) -> int:
        """Count the units."""
        return -(-self._count // UNIT)

    def items(self, unit: int) -> int:
        """Count the documents of a unit."""
        return min(UNIT, self._count - unit * UNIT)

    def compose(self, unit: int, wanted: np.ndarray | None = None) -> Iterator[Placed]:
        """Yield the documents of a unit, and why others are none."""
        with regular.opened(self._path) as stream:
            stream.seek(self._starts[unit])
            for position in range(self.items(unit)):
                line = stream.readline(_LONGEST_LINE)
                if not line.strip() or (wanted is not None and not wanted[position]):
                    continue
                try:
                    yield Placed(position, self._document(pieces_of(line)))
                except VqtokError as error:
                    where = f"line {unit * UNIT + position + 1}"
                    yield Placed(position, Lack(where, str(error)))

    def _document(self, pieces: Sequence[Piece]) -> Outcome:
        made = Builder(self._begin)
        texts = [value for kind, value in pieces if kind == "text"]
        ids = iter(as_texts(self._text.encode_many(texts), self._vocabulary))
        for kind, value in pieces:
            if kind == "special":
                ident = self._vocabulary.special.get(value)
                ident = self._text.id_of(value) if ident is None else ident
                if ident is None:
                    hint = '--layout chat, or name it in "special" of the layout'
                    raise ConfigError(f"no token {value!r} in the vocabulary", hint=hint)
                made.glue(np.array([ident], np.int64))
            elif kind == "text":
                found = next(ids)
                if isinstance(found, str):
                    raise CodesError(found)
                if len(found):
                    made.add("text", found, {})
            else:
                self._add(made, kind, value)
        made.glue(np.array(self._end, np.int64))
        return made.made()

    def _add(self, made: Builder, kind: str, name: str) -> None:
        place = self._items.find(kind, name)
        if place is None:
            raise CodesError(f"no {kind} item {name!r} in the corpora")
        run, corpus = place.run, self._corpora[place.corpus]
        blocks = self._blocks[place.corpus]
        block = blocks.of(run.shapes)
        rows = slice(place.position * run.channels, (place.position + 1) * run.channels)
        source = {
            **run.items[place.position].label,
            "corpus": place.corpus,
            "tokenizer": corpus.tokenizer,
            "shapes": [list(shape) for shape in block.shapes],
        }
        (tokens,) = blocks.tokens(block, run.flat[rows], run.channels)
        made.add(kind, tokens.ids, source, tokens.merged)


def pieces_of(line: bytes) -> list[Piece]:
    """Read one document.

    Raises:
        ConfigError: not such a document, saying where.
    """
    try:
        data = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError("not JSON") from error
    if isinstance(data, dict) and "document" in data:
        return _interleaved(data["document"])
    if isinstance(data, dict) and "messages" in data:
        return _chat(data)
    raise ConfigError('neither "document" nor "messages"')


def _interleaved(parts: Any) -> list[Piece]:
    if not isinstance(parts, list):
        raise ConfigError("document", "not a list")
    found: list[Piece] = []
    for number, part in enumerate(parts):
        if isinstance(part, str):
            found.append(("text", part))
            continue
        if not isinstance(part, dict) or len(part) != 1:
            raise ConfigError(f"document[{number}]", 'neither text nor {"image": …}, {"audio": …}')
        ((kind, value),) = part.items()
        if kind not in ("text", "image", "audio") or not isinstance(value, str):
            raise ConfigError(f"document[{number}]", f"{kind!r} is not text, image or audio")
        found.append((kind, value))
    return found


def _chat(data: Mapping[str, Any]) -> list[Piece]:
    named: dict[str, list[str]] = {}
    for kind in ("image", "audio"):
        values = data.get(f"{kind}s", data.get(kind, []))
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            raise ConfigError(f"{kind}s", "not a list of names")
        named[kind] = list(values)
    if not isinstance(data["messages"], list):
        raise ConfigError("messages", "not a list")
    found: list[Piece] = []
    for number, message in enumerate(data["messages"]):
        where = f"messages[{number}]"
        role, content = (
            (message.get("role"), message.get("content")) if isinstance(message, dict) else (0, 0)
        )
        if not isinstance(role, str) or not isinstance(content, str):
            raise ConfigError(where, "no role, or no content that is text")
        found.append(("special", f"<|{role}|>"))
        parts = _PLACEHOLDER.split(content)
        for place, part in enumerate(parts):
            if place % 2 == 0:
                found += [("text", part)] if part else []
                continue
            if not named[part]:
                raise ConfigError(where, f"more placeholders <{part}> than {part}s")
            found.append((part, named[part].pop(0)))
        found.append(("special", END_OF_TURN))
    left = [f"{len(names)} {kind}s" for kind, names in named.items() if names]
    if left:
        raise ConfigError(f"{', '.join(left)} without a placeholder")
    return found
