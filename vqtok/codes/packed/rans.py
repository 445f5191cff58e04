"""Entropy coding: rANS (Duda 2013, arXiv:1311.2540) in lanes, so that numpy codes many at a time.

A model of codes is one function for both directions: it asks ``Coder.code`` for symbols, batch
after batch, by frequencies made of those that it has. A ``Writer`` takes the symbols, a ``Reader``
finds them.

Symbol i of a batch belongs to lane i modulo the lanes. States lie in [2^24, 2^40) and move by words
of 16 bits. rANS is last in, first out: the writer keeps what it is given and codes it backwards at
the end. The reader's states end where the writer's began, so that damage shows.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

import numpy as np

from vqtok.errors import CodesError

PRECISION = 16
TOTAL = 1 << PRECISION
"""What the frequencies of a symbol's alternatives sum to."""

RARE = 256
"""Of ``TOTAL``, shared out evenly whatever the weights: nothing is impossible, and no code costs
less than 1/178 bit, so that a file's bytes bound the codes in it."""

MOST_PER_BYTE = 1424
"""Symbols that a byte can hold: 8 bits over log2 of ``TOTAL / (TOTAL - RARE)``, and a little."""

_FEW = 12
"""Lanes up to which Python's integers, a symbol at a time, are faster than numpy's arrays."""

_LOW = 1 << 24
_STATE = 5  # bytes
_SHORT = "damaged: its bytes end before its codes"


class Coder(Protocol):
    """Codes symbols in either direction."""

    def code(self, frequencies: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Code a batch.

        Args:
            frequencies: (n, S) positive integers, each row with the sum ``TOTAL``; or (1, S), the
                same for all.
            symbols: (n,) below S; a reader takes their number alone.

        Returns:
            (n,) int64: the symbols.
        """


def frequencies(weights: np.ndarray) -> np.ndarray:
    """Make frequencies that are in proportion to weights, as near as integers are.

    Args:
        weights: (n, S) int64 from 0 to 2^40 a row in sum, which is positive; S from 2 to 2^15.

    Returns:
        (n, S) int64, positive, each row with the sum ``TOTAL``.
    """
    count = weights.shape[1]
    least = max(1, RARE // count)
    made: np.ndarray = weights * (TOTAL - least * count) // weights.sum(axis=1, keepdims=True)
    made += least
    largest = weights.argmax(axis=1)
    made[np.arange(len(made)), largest] += TOTAL - made.sum(axis=1)
    return made


def lanes_for(symbols: int) -> int:
    """Return the number of lanes: each costs bytes, fewer take longer."""
    return min(max(1, symbols >> 11), 256)


class Counter:
    """Adds up what symbols cost by their frequencies alone, in bits."""

    def __init__(self) -> None:
        self.bits, self.symbols = 0.0, 0

    def code(self, frequencies: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Count a batch; see ``Coder``."""
        own = frequencies[np.arange(len(symbols)) if len(frequencies) != 1 else 0, symbols]
        self.bits += float((PRECISION - np.log2(own)).sum())
        self.symbols += len(symbols)
        return symbols


class Writer:
    """Makes bytes of symbols; see ``Coder``."""

    def __init__(self) -> None:
        self._starts: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []

    def code(self, frequencies: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Keep a batch."""
        row = np.arange(len(symbols)) if len(frequencies) != 1 else 0
        self._sizes.append(frequencies[row, symbols].astype(np.uint32))
        ends = np.cumsum(frequencies, axis=1)[row, symbols]
        self._starts.append((ends - self._sizes[-1]).astype(np.uint32))
        return symbols

    def finish(self) -> bytes:
        """Code all that was kept: the states, then words in the order in which they are read."""
        lanes = lanes_for(sum(map(len, self._sizes)))
        states, words = self._one_by_one(lanes) if lanes <= _FEW else self._by_lanes(lanes)
        head = states.astype("<u8").view(np.uint8).reshape(lanes, 8)[:, :_STATE]
        return head.tobytes() + words

    def _by_lanes(self, lanes: int) -> tuple[np.ndarray, bytes]:
        """Return the states and the words, coded a symbol of each lane at a time."""
        states = np.full(lanes, _LOW, dtype=np.uint64)
        words: list[np.ndarray] = []
        for sizes, starts in zip(reversed(self._sizes), reversed(self._starts), strict=True):
            for at in range((len(sizes) - 1) // lanes * lanes, -1, -lanes):
                size = sizes[at : at + lanes].astype(np.uint64)
                state = states[: len(size)]
                full = state >= size << np.uint64(24)
                words.append(state[full].astype("<u2"))
                state = np.where(full, state >> np.uint64(16), state)
                whole, rest = np.divmod(state, size)
                states[: len(size)] = (whole << np.uint64(PRECISION)) + rest
                states[: len(size)] += starts[at : at + lanes]
        return states, b"".join(each.tobytes() for each in reversed(words))

    def _one_by_one(self, lanes: int) -> tuple[np.ndarray, bytes]:
        """Return the same, coded a symbol at a time."""
        states, words = [_LOW] * lanes, list[int]()
        for sizes, starts in zip(reversed(self._sizes), reversed(self._starts), strict=True):
            pairs = zip(reversed(sizes.tolist()), reversed(starts.tolist()), strict=True)
            for number, (size, start) in enumerate(pairs, 1):
                lane = (len(sizes) - number) % lanes
                state = states[lane]
                if state >= size << 24:
                    words.append(state & 0xFFFF)
                    state >>= 16
                whole, rest = divmod(state, size)
                states[lane] = (whole << PRECISION) + rest + start
        return np.array(states, dtype=np.uint64), np.array(words[::-1], dtype="<u2").tobytes()


class Reader:
    """Finds symbols in what ``Writer.finish`` gave; see ``Coder``.

    Args:
        data: The bytes.
        symbols: How many were written.

    Raises:
        CodesError: too few bytes for so many.
    """

    def __init__(self, data: bytes, symbols: int) -> None:
        lanes = lanes_for(symbols)
        head = lanes * _STATE
        if len(data) < head or len(data) % 2 != head % 2 or symbols > len(data) * MOST_PER_BYTE:
            raise CodesError("damaged: more codes than its bytes can hold")
        states = np.zeros((lanes, 8), dtype=np.uint8)
        states[:, :_STATE] = np.frombuffer(data, np.uint8, head).reshape(lanes, _STATE)
        self._states = states.view("<u8")[:, 0].astype(np.uint64)
        self._words = np.frombuffer(data, "<u2", offset=head).astype(np.uint64)
        self._at = 0

    def code(self, frequencies: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Find a batch.

        Raises:
            CodesError: the bytes end before.
        """
        ends = np.cumsum(frequencies, axis=1)
        if len(self._states) <= _FEW:
            return self._one_by_one(ends, len(symbols))
        found = np.empty(len(symbols), dtype=np.int64)
        shared = len(ends) == 1
        lanes, low = len(self._states), np.uint64(TOTAL - 1)
        for at in range(0, len(found), lanes):
            count = min(lanes, len(found) - at)
            state = self._states[:count]
            slot = (state & low).astype(np.int64)
            if shared:
                symbol = np.searchsorted(ends[0], slot, side="right")
                row: np.ndarray | int = 0
            else:
                symbol = (ends[at : at + count] <= slot[:, None]).sum(axis=1)
                row = np.arange(at, at + count)
            size = frequencies[row, symbol]
            offset = (slot - ends[row, symbol] + size).astype(np.uint64)
            state = size.astype(np.uint64) * (state >> np.uint64(PRECISION)) + offset
            short = state < _LOW
            wanted = int(short.sum())
            words = self._words[self._at : self._at + wanted]
            if len(words) < wanted:
                raise CodesError(_SHORT)
            self._at += wanted
            state[short] = (state[short] << np.uint64(16)) | words
            self._states[:count] = state
            found[at : at + count] = symbol
        return found

    def _one_by_one(self, ends: np.ndarray, count: int) -> np.ndarray:
        """Find a batch, a symbol at a time.

        Args:
            ends: (n, S) or (1, S): where the slots of each symbol end.
            count: Symbols.
        """
        states, found = self._states.tolist(), [0] * count
        rows = ends.tolist()
        rows = rows * count if len(rows) == 1 else rows
        words = self._words[self._at : self._at + count].tolist()  # one a symbol at most
        taken, lanes = 0, len(states)
        for number, row in enumerate(rows):
            lane = number % lanes
            state = states[lane]
            slot = state & (TOTAL - 1)
            symbol = bisect_right(row, slot)
            start = row[symbol - 1] if symbol else 0
            state = (row[symbol] - start) * (state >> PRECISION) + slot - start
            if state < _LOW:
                if taken == len(words):
                    raise CodesError(_SHORT)
                state = state << 16 | words[taken]
                taken += 1
            states[lane], found[number] = state, symbol
        self._at += taken
        self._states = np.array(states, dtype=np.uint64)
        return np.array(found, dtype=np.int64)

    def finish(self) -> None:
        """Check that all was read.

        Raises:
            CodesError: damaged bytes.
        """
        if self._at != len(self._words) or (self._states != _LOW).any():
            raise CodesError("damaged: its bytes are not those of its codes")
