"""What every room is: seeds, damage and probe of one kind of file."""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

from tests.hostile.mutations import Mutant, mutate
from vqtok.errors import VqtokError

CRAFTED = 1_000_000_000
"""Seeds from here on are the files that were made by hand, in order."""

SOME = 2_000_000_000
"""Seeds from here on are every eighth of those: of three forms of one thing, each in turn."""

EVERY = 8

MAX_PIXELS = 1_000_000
"""Allowed in a picture here: 12 MB as float32, far below the limit of memory."""

UNDECODED = re.compile("[\udc80-\udcff]")
"""Bytes of a name that are no UTF-8: they leave as they came."""


class Fault(Exception):
    """A promise that was not kept, other than by an exception."""


class Room(ABC):
    """Seeds, damage and probe of one kind of file.

    Args:
        shelf: Folder with the small models.
        work: Folder where inputs may be put and outputs may be written.
    """

    def __init__(self, shelf: Path, work: Path) -> None:
        self.shelf, self.work = shelf, work

    def input(self, seed: int) -> Mutant:
        """The hostile file of a seed, and what is wrong with it."""
        if seed < CRAFTED:
            return self.mutant(seed)
        name, data = self.chosen(seed)[0]
        return Mutant(data, name)

    def chosen(self, seed: int) -> list[tuple[str, bytes]]:
        """The files made by hand from this seed on."""
        files = list(self.crafted.items())
        return files[EVERY * (seed - SOME) :: EVERY] if seed >= SOME else files[seed - CRAFTED :]

    @cached_property
    def crafted(self) -> dict[str, bytes]:
        """What is wrong → file, of those made by hand."""
        return self._by_hand()

    def _by_hand(self) -> dict[str, bytes]:
        return {}

    @abstractmethod
    def mutant(self, seed: int) -> Mutant:
        """The damaged file of a seed, and what was done to it."""

    @abstractmethod
    def probe(self, data: bytes) -> str:
        """Use the file as vqtok would; say what came out.

        Raises:
            VqtokError: a clean refusal.
            Fault: a result that does not hold together.
        """

    def _file_of(self, files: dict[str, bytes], rng: random.Random) -> Mutant:
        name = rng.choice(sorted(files))
        made = mutate(files[name], rng, [files[each] for each in sorted(files)])
        return Mutant(made.data, f"{name}: {made.how}")


def check_message(error: VqtokError) -> None:
    """One printable line, about a refusal and not about a bug or a lack of memory.

    Raises:
        Fault: it is not.
    """
    text = str(error)
    if not text or not UNDECODED.sub("", text).isprintable():
        raise Fault(f"not one printable line: {text!r}") from error
    if "internal: " in text or "not enough memory" in text or "can't allocate" in text:
        raise Fault(text) from error
    if len(text) > 1000:
        raise Fault(f"{len(text)} characters: {text[:100]}") from error
