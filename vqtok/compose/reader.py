"""Reads a composed stream: its documents, and in each the codes and the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqtok import regular
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import integer
from vqtok.compose.block import Blocks
from vqtok.compose.document import Document, Part
from vqtok.compose.merges import undoing_of
from vqtok.compose.outputs import OUTPUTS, documents
from vqtok.compose.state import MARK, Totals, is_stream
from vqtok.compose.text import TextTokenizer
from vqtok.compose.vocabulary import TOKENIZER, Vocabulary
from vqtok.corpus import items
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.index import read_json
from vqtok.corpus.info import build
from vqtok.corpus.items import checking
from vqtok.corpus.names import COMMAND, INDEX, STATE
from vqtok.errors import CodesError


@dataclass(frozen=True)
class Block:
    """Holds the codes of one item of a document.

    Attributes:
        document: Its number in the stream.
        name: Of the item; "" if unknown.
        codes: (B, *axes), B = 1 or the number of channels.
        header: What decoding needs.
    """

    document: int
    name: str
    codes: Codes
    header: Header


@dataclass(frozen=True)
class Text:
    """Holds a text of a document."""

    document: int
    text: str


@dataclass(frozen=True)
class StreamInfo:
    """Holds what ``index.json`` says.

    Attributes:
        format: Of the files.
        totals: Over all documents.
        splits: Prefix → documents.
        files: All, with checksums.
        choices: How it was composed.
    """

    format: str
    totals: Totals
    splits: Mapping[str, int]
    files: tuple[ByteRange, ...]
    choices: Mapping[str, Any]


class StreamReader:
    """Reads the documents of a complete stream, one in memory at a time.

    Args:
        folder: Holds ``index.json``.

    Attributes:
        info: What it says.
        vocabulary: Of all ids.
        text: Tokenizer of text, or None.

    Raises:
        CodesError: not a stream, unfinished or damaged.
        ConfigError: a damaged vocabulary.
        UsageError: an extra that is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.info = read_index(folder)
        self.vocabulary = Vocabulary.read(folder)
        tokenizer = folder / TOKENIZER
        self.text = TextTokenizer.read(tokenizer) if tokenizer.is_file() else None
        self._blocks: dict[int, Blocks] = {}
        self._undo = undoing_of(self.vocabulary.tokenizers, self.vocabulary.merges_sha256, folder)

    def check(self) -> None:
        """Read every file and refuse others than were written.

        Raises:
            CodesError: naming the file.
        """
        for each in self.info.files:
            each.check(self._folder)

    def documents(self) -> Iterator[Document]:
        """Yield the documents, split after split."""
        output = OUTPUTS[self.info.format]
        output.require()
        for prefix in self.info.splits:
            sequences = output.read(self._folder, prefix, self.vocabulary.dtype)
            yield from documents(sequences)

    def parts(self) -> Iterator[Block | Text]:
        """Yield the codes and texts of all documents.

        Raises:
            CodesError: ids that do not stand for what the listing says, with document and position.
        """
        for number, document in enumerate(self.documents()):
            for part in document.listed.parts:
                ids = document.ids[part.start : part.start + part.tokens]
                if part.kind == "text":
                    if self.text is not None:
                        yield Text(number, self.text.decode(ids.tolist()))
                    continue
                try:
                    yield self._block(number, part, ids)
                except CodesError as error:
                    where = f"{self._folder}: document {number}"
                    raise CodesError(where, f"from position {part.start}: {error}") from error

    def _block(self, number: int, part: Part, ids: np.ndarray) -> Block:
        with checking():
            which = integer(part.source["tokenizer"], "tokenizer", low=0)
            if which >= len(self.vocabulary.tokenizers):
                raise CodesError(f"damaged: no tokenizer {which}")
        blocks = self._blocks.setdefault(which, self.vocabulary.blocks(which, self.text))
        spec = self.vocabulary.tokenizers[which].spec
        label = items.read_label(part.source, spec)
        shapes = tuple(items.shapes(part.source.get("shapes"), spec))
        block = blocks.of(shapes)
        ids = self._undo(ids).ids
        if len(ids) != len(block) * label.header.channels:
            expected = len(block) * label.header.channels
            raise CodesError(f"{len(ids)} tokens found, {expected} expected")
        levels = block.levels(ids.reshape(label.header.channels, -1))
        codes = Codes(label.header.spec, levels, label.header.extent).check().numpy()
        return Block(number, label.name, codes, label.header)


def read_index(folder: Path) -> StreamInfo:
    """Read the index of a complete stream.

    Raises:
        CodesError: not a stream, unfinished or damaged.
    """
    try:
        data = read_json(folder / INDEX)
    except FileNotFoundError as error:
        if is_stream(folder):
            raise CodesError(folder, "unfinished stream", hint=_command(folder)) from error
        raise CodesError(folder, f"not a stream: it has no {INDEX}") from error
    except OSError as error:
        raise CodesError(folder, f"cannot read: {error.strerror}") from error
    with checking(folder / INDEX):
        if integer(data[MARK], MARK) > 1:
            raise CodesError(folder, "made by a newer vqtok", hint="pip install --upgrade vqtok")
        if data["format"] not in OUTPUTS:
            raise ValueError(f"unknown format {data['format']!r}")
        splits = {str(k): integer(v, "splits", low=0) for k, v in data["splits"].items()}
        files = tuple(build(ByteRange, each) for each in data["files"])
        if not set(splits) <= {"tokens", "train", "validation"}:
            raise ValueError("unknown splits")
        totals = Totals.from_json(data["totals"])
        return StreamInfo(data["format"], totals, splits, files, dict(data["job"]["choices"]))


def _command(folder: Path) -> str:
    """Return what goes on with an unfinished stream."""
    try:
        return regular.read(folder / STATE / COMMAND, most=1 << 20).decode() or _AGAIN
    except (OSError, UnicodeDecodeError):
        return _AGAIN


_AGAIN = "run the command that makes it again"
