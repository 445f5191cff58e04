"""Merges codes, and learns which to merge, through the library ``tokenizers`` (``vqtok[text]``).

To the library codes are characters and a block is a word. What is no code is one character, which
no merge has: so nothing is merged across it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from threading import Thread
from typing import Any

import numpy as np

from vqtok.compose.merges import Merges, MergesFile, symbols_of
from vqtok.compose.ranges import TokenizerRanges
from vqtok.errors import ConfigError, UsageError

WORD = 512
"""Codes of a word that merges are learned from: a merge costs the library the length of a word."""

_MARK = 0x20
_FIRST = 0x100
_SURROGATES, _AFTER = 0xD800, 0xE000
_MOST_SYMBOLS = 0x110000 - _FIRST - (_AFTER - _SURROGATES)


def require() -> None:
    """Refuse to go on without the library.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "merges need the package tokenizers", hint="pip install 'vqtok[text]'"
        ) from error


class Alphabet:
    """Writes blocks of one tokenizer as text: a character for each code.

    Args:
        own: Ranges of the tokenizer.

    Raises:
        ConfigError: more codes than there are characters.
    """

    def __init__(self, own: TokenizerRanges) -> None:
        ids = symbols_of(own)
        if len(ids) > _MOST_SYMBOLS:
            raise ConfigError(own.model or "merges", f"{len(ids)} codes are too many for merges")
        points = np.arange(len(ids), dtype="<u4") + _FIRST
        points[points >= _SURROGATES] += _AFTER - _SURROGATES
        self.characters = points.tobytes().decode("utf-32-le")
        self._points = np.full(int(ids.max()) + 1, _MARK, "<u4")
        self._points[ids] = points

    def texts(self, ids: np.ndarray, is_code: np.ndarray) -> list[str]:
        """Return a text for each block.

        Args:
            ids: (B, n) token ids.
            is_code: (n,) which positions have codes.
        """
        points = self._points[np.where(is_code, ids, 0)]
        points[:, ~is_code] = _MARK
        return [row.tobytes().decode("utf-32-le") for row in points]


class Merger:
    """Merges the codes of blocks of one tokenizer.

    Args:
        own: Its ranges, merged ids among them.
        merges: Of it.

    Raises:
        UsageError: the library is not installed.
        ConfigError: merges of other codes.
    """

    def __init__(self, own: TokenizerRanges, merges: Merges) -> None:
        require()
        from tokenizers import Tokenizer, models

        self._alphabet = Alphabet(own)
        symbols = list(self._alphabet.characters)
        if own.merged is None or len(symbols) != merges.symbols:
            raise ConfigError("merges", f"of {merges.symbols} codes, and not {len(symbols)}")
        pairs = []
        for left, right in merges.pairs.tolist():
            pairs.append((symbols[left], symbols[right]))
            symbols.append(symbols[left] + symbols[right])
        known = {chr(_MARK): 0} | {each: n for n, each in enumerate(symbols, start=1)}
        self._library: Any = Tokenizer(models.BPE(known, pairs, cache_capacity=0))
        merged = np.arange(len(merges)) + own.merged.offset
        self._ids = np.concatenate([[-1], symbols_of(own), merged])

    def __call__(self, ids: np.ndarray, is_code: np.ndarray) -> list[np.ndarray]:
        """Return the ids of blocks after merging.

        Args:
            ids: (B, n) token ids.
            is_code: (n,) which positions have codes.
        """
        texts = self._alphabet.texts(ids, is_code)
        found = [
            each.ids for each in self._library.encode_batch_fast(texts, add_special_tokens=False)
        ]
        ends = np.cumsum([len(each) for each in found])
        whole = self._ids[np.fromiter(chain.from_iterable(found), np.int64, int(ends[-1]))]
        whole[whole < 0] = ids[:, ~is_code].reshape(-1)
        return np.split(whole, ends[:-1])


def mergers_of(tokenizers: Sequence[TokenizerRanges], merges: MergesFile) -> list[Merger | None]:
    """Return what merges the codes of each tokenizer; None: it has no merges.

    Raises:
        UsageError, ConfigError: as ``Merger``.
    """
    learned = {each.spec: each for each in merges.tokenizers}
    return [None if own.merged is None else Merger(own, learned[own.spec]) for own in tokenizers]


def learn(
    texts: Iterable[str], characters: str, *, count: int, min_count: int, longest: int
) -> np.ndarray:
    """Learn merges by byte-pair encoding; the same texts give the same merges.

    Args:
        texts: Blocks, as ``Alphabet`` writes them.
        characters: All codes.
        count: Merges at most.
        min_count: A pair that is met less often is not merged.
        longest: Codes of a merged token at most.

    Returns:
        (n, 2) int64 symbols.
    """
    require()
    from tokenizers import Tokenizer, models, trainers

    own: Any = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=len(characters) + count,
        min_frequency=min_count,
        max_token_length=longest,
        initial_alphabet=list(characters),
        show_progress=False,
    )
    _interruptible(lambda: own.train_from_iterator(_words(texts), trainer))
    pairs: Sequence[Sequence[str]] = json.loads(own.to_str())["model"]["merges"]
    symbols = {each: number for number, each in enumerate(characters)}
    found: list[tuple[int, int]] = []
    for left, right in pairs:
        if left + right not in symbols:  # it may come of another pair already
            symbols[left + right] = len(characters) + len(found)
            found.append((symbols[left], symbols[right]))
    return np.array(found, np.int64).reshape(-1, 2)


def _interruptible(work: Callable[[], object]) -> None:
    """Do it in a thread: the library does not look whether someone wants it to stop."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _words(texts: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of texts that have codes alone."""
    for text in texts:
        for run in text.split(chr(_MARK)):
            for start in range(0, len(run), WORD):
                if len(run) - start > 1:
                    yield run[start : start + WORD]
