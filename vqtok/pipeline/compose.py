"""What ``compose`` is asked for → the corpora, texts, vocabulary and documents of a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from vqtok.compose import building, layout
from vqtok.compose.building import Source, refuse_others
from vqtok.compose.extending import extended
from vqtok.compose.merges import FILE as MERGES
from vqtok.compose.merges import MergesFile
from vqtok.compose.merging import mergers_of
from vqtok.compose.pairs import MODES, Corpus, Mode, Pairs
from vqtok.compose.scripts import Scripts
from vqtok.compose.state import digest_of, is_stream
from vqtok.compose.stream import Composer
from vqtok.compose.text import TextTokenizer
from vqtok.compose.texts import Texts, open_texts
from vqtok.compose.vocabulary import TOKENIZER, Mergers, Vocabulary
from vqtok.corpus.names import INDEX
from vqtok.corpus.reader import CorpusReader
from vqtok.errors import UsageError

DEFAULT = "plain"


@dataclass(frozen=True)
class Request:
    """Says what is to be composed.

    Attributes:
        corpora: Their folders.
        layout: Name of a preset or path of JSON; None: as ``--format bin``, or with text rows.
        tokenizer: Of text: a ``tokenizer.json``, or a folder with one.
        text: Where texts are; None: what corpora carry.
        mode: One of ``MODES``; None: codes alone, or behind their text where there is a tokenizer.
        key: Field or column of keys in texts.
        column: Field or column of texts.
        documents: JSON Lines of documents that are written out; None: one for each item.
        merges: Of codes: a ``merges.json``, or a folder with one; None: codes stay as they are.
        extend: Put the tokens of all ids into the ``tokenizer.json`` of the stream.
    """

    corpora: tuple[Path, ...]
    layout: str | None = None
    tokenizer: Path | None = None
    text: str | None = None
    mode: str | None = None
    key: str | None = None
    column: str | None = None
    documents: Path | None = None
    merges: Path | None = None
    extend: bool = False


@dataclass(frozen=True)
class Prepared:
    """Holds what a stream is made of; a context manager.

    Attributes:
        composer: Makes its documents.
        vocabulary: Of all ids.
        job: What the stream depends on, as JSON.
        sides: Small files that lie beside it.
        texts: Where texts are found, or None.
    """

    composer: Composer
    vocabulary: Vocabulary
    job: Mapping[str, Any]
    sides: Mapping[str, bytes] = field(default_factory=dict)
    texts: Texts | None = None

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        if self.texts is not None:
            self.texts.close()


def prepare(request: Request) -> Prepared:
    """Open corpora and texts, and give every token its id.

    Raises:
        UsageError: what does not go together, or an extra that is not installed.
        ConfigError: a layout or a tokenizer that cannot be read, or does not fit.
        CodesError: a corpus that is unfinished or damaged.
    """
    mode = _mode(request)
    for path in request.corpora:
        if is_stream(path):
            raise UsageError(path, "a stream, not a corpus", hint="name the corpora themselves")
    readers = [CorpusReader(path) for path in request.corpora]
    text = None if request.tokenizer is None else TextTokenizer.read(request.tokenizer)
    name = request.layout or (DEFAULT if mode == "codes" else "rows")
    sources = [Source(reader.info.model, reader.spec) for reader in readers]
    merges = None if request.merges is None else MergesFile.read(request.merges)
    if merges is not None:
        refuse_others(merges, sources, f"--merges {request.merges}")
    vocabulary = building.build(layout.read(name), sources, text, merges)
    mergers: Mergers = None
    corpora = [
        Corpus(path, reader, vocabulary.find(reader.spec))
        for path, reader in zip(request.corpora, readers, strict=True)
    ]
    texts: Texts | None = None
    sides: dict[str, bytes] = {}
    if merges is not None:
        mergers = mergers_of(vocabulary.tokenizers, merges)
        sides[MERGES] = merges.data
    if text is not None:
        sides[TOKENIZER] = extended(vocabulary, text) if request.extend else text.data
    elif request.extend:
        raise UsageError("--extend-tokenizer", "which one?", hint="--tokenizer tokenizer.json")
    if request.documents is not None:
        if text is None:
            raise UsageError("--documents", "text through which tokenizer?", hint="--tokenizer")
        scripts = Scripts(request.documents, corpora, vocabulary, text, mergers)
        job = {**_job(request, "documents"), "documents": digest_of(request.documents)}
        return Prepared(scripts, vocabulary, job, sides)
    if mode != "codes":
        texts = open_texts(request.text, key=request.key, text=request.column)
        if request.text is None:
            _refuse_without_text(corpora)
    job = {**_job(request, mode), "texts": "" if texts is None else texts.digest()}
    composer = Pairs(corpora, vocabulary, mode=mode, text=text, texts=texts, mergers=mergers)
    return Prepared(composer, vocabulary, job, sides, texts)


def _job(request: Request, mode: str) -> dict[str, Any]:
    digests = [digest_of(path / INDEX) for path in request.corpora]
    return {"corpora": digests, "mode": mode, "extended": request.extend}


def _mode(request: Request) -> Mode:
    """Return what a document consists of.

    Raises:
        UsageError: an unknown mode, or text without its tokenizer or the other way round.
    """
    mode = request.mode
    if request.documents is not None and (mode is not None or request.text is not None):
        flag = "--text" if mode is None else "--mode"
        raise UsageError(flag, "of no effect with --documents, which say it all")
    if mode is None:
        mode = "codes" if request.text is None and request.tokenizer is None else "text-to-codes"
    if mode not in MODES:
        raise UsageError(f"--mode {mode}", "unknown mode", hint=", ".join(MODES))
    if mode == "codes" and request.text is not None:
        raise UsageError("--text", "of no effect with --mode codes")
    if mode != "codes" and request.tokenizer is None:
        raise UsageError("text", "through which tokenizer?", hint="--tokenizer tokenizer.json")
    return cast(Mode, mode)


def _refuse_without_text(corpora: Sequence[Corpus]) -> None:
    for corpus in corpora:
        if {"txt", "json"}.isdisjoint(corpus.reader.info.identity.carry):
            raise UsageError(
                corpus.path,
                "carries no text",
                hint="--text captions.jsonl, or encode with --carry txt",
            )
