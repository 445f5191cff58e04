"""Finds the codes of an item by its name, in any of several corpora."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vqtok.compose.pairs import Corpus
from vqtok.compose.texts import hash_of, key_of
from vqtok.corpus.runs import Run
from vqtok.errors import UsageError

KEPT = 8
"""Shards whose codes are in memory: documents that name items in their order are fast."""


@dataclass(frozen=True)
class Place:
    """Says where an item's codes are.

    Attributes:
        corpus: Its number.
        run: With it.
        position: In the run.
    """

    corpus: int
    run: Run
    position: int


class Items:
    """Finds items by name, with or without the suffix; 16 bytes of each are in memory.

    Args:
        corpora: Where they are.

    Raises:
        UsageError: two items of one name and modality.
        CodesError: a damaged corpus.
    """

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self._corpora = corpora
        hashes: dict[str, bytearray] = {}
        places: dict[str, list[np.ndarray]] = {}
        self._shards = [
            (number, shard)
            for number, corpus in enumerate(corpora)
            for shard in range(len(corpus.reader.info.shards))
        ]
        for place, (number, shard) in enumerate(self._shards):
            reader = corpora[number].reader
            own = hashes.setdefault(reader.spec.modality, bytearray())
            before = len(own)
            for run in reader.runs(shard):
                for item in run.items:
                    own += hash_of(key_of(item.name, suffix=False))
            count = (len(own) - before) // 8
            places.setdefault(reader.spec.modality, []).append(np.full(count, place, np.int64))
        self._index: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for modality, data in hashes.items():
            found = np.frombuffer(data, "<u8")
            order = np.argsort(found, kind="stable")
            self._index[modality] = found[order], np.concatenate(places[modality])[order]
        self._kept: OrderedDict[int, dict[str, Place | None]] = OrderedDict()

    def find(self, modality: str, name: str) -> Place | None:
        """Return where an item is; None: nowhere.

        Raises:
            UsageError: two items have that name.
        """
        hashes, places = self._index.get(modality, (np.zeros(0, "<u8"), np.zeros(0, np.int64)))
        found: list[Place] = []
        for key in dict.fromkeys((key_of(name, suffix=False), name)):
            own = np.frombuffer(hash_of(key), "<u8")[0]
            start, stop = (int(np.searchsorted(hashes, own, side)) for side in ("left", "right"))
            for place in sorted(set(places[start:stop].tolist())):
                held = self._shard(place)
                if name in held:
                    if held[name] is None:
                        raise UsageError(name, "two items differ in their suffixes alone")
                    found.append(held[name])  # type: ignore[arg-type]
        if len(found) > 1:
            folders = ", ".join(str(self._corpora[each.corpus].path) for each in found)
            raise UsageError(name, f"there twice: in {folders}")
        return found[0] if found else None

    def _shard(self, place: int) -> dict[str, Place | None]:
        """Return the items of a shard by their names, with and without suffix."""
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        number, shard = self._shards[place]
        found: dict[str, Place | None] = {}
        short: dict[str, Place | None] = {}
        for run in self._corpora[number].reader.runs(shard):
            for position, item in enumerate(run.items):
                own = Place(number, run, position)
                stem = key_of(item.name, suffix=False)
                found[item.name] = own
                short[stem] = None if stem in short else own
        self._kept[place] = {**short, **found}
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[place]
