"""Decoded files kept in memory while there is room, and the names of those that are broken."""

from __future__ import annotations

import threading

import numpy as np

from vqtok.errors import MediaError


class Shelf:
    """Decoded files by number; what is full stays as it is.

    Args:
        room: Bytes.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, number: int) -> np.ndarray | None:
        """What was put there."""
        with self._lock:
            return self._kept.get(number)

    def put(self, number: int, values: np.ndarray) -> None:
        """Keep the values, if there is room."""
        with self._lock:
            if values.nbytes <= self._room and number not in self._kept:
                self._room -= values.nbytes
                self._kept[number] = values

    def fits(self, size: int) -> bool:
        """Whether there is room for so many bytes."""
        with self._lock:
            return size <= self._room


class Bad:
    """Files that cannot be read. Which they are depends on the files, not on who found them."""

    def __init__(self) -> None:
        self._hopeless: set[int] = set()
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, number: int, place: object, error: MediaError, *, hopeless: bool) -> None:
        """Note a failure; ``hopeless`` if it would be the same for every window."""
        with self._lock:
            self._reasons.setdefault(str(place), str(error))
            if hopeless:
                self._hopeless.add(number)

    def __contains__(self, number: int) -> bool:
        return number in self._hopeless

    def reasons(self) -> dict[str, str]:
        """Name → the first reason found, sorted by name."""
        with self._lock:
            return dict(sorted(self._reasons.items()))
