"""The codes that a prior is trained on: many items of one model, any of them at once.

Whatever they were read from, they are copied into an anonymous file that the system keeps in memory
as far as there is room. What an item costs beyond its codes is some dozens of bytes.
"""

from __future__ import annotations

import math
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from vqtok.codes.spec import CodeSpec
from vqtok.corpus.index import is_corpus
from vqtok.corpus.reader import Found, Unread, gather
from vqtok.errors import CodesError, UsageError
from vqtok.media.inputs import walk
from vqtok.media.kinds import MODALITIES
from vqtok.pipeline.score import places_of

DTYPES = ("uint8", "uint16", "uint32")


class Origin(NamedTuple):
    """Says whose codes they are.

    Attributes:
        spec: Of the tokenizer, with its fingerprint.
        model: NAME of the tokenizer; "" if unknown.
        depth: Stages of stacked codebooks that all items have; None without a stack.
    """

    spec: CodeSpec
    model: str
    depth: int | None

    def shapes(self, extent: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Return the shape of each level's codes of an item."""
        return self.spec.shapes(extent, depth=self.depth)

    def tokens(self, extent: tuple[int, ...]) -> int:
        """Count the codes of an item."""
        return self.spec.tokens(extent, depth=self.depth)


class CodeItems:
    """Holds the codes of all items, or of some of them.

    Attributes:
        origin: Whose they are.
        unreached: Entries of folders and lists that could not be looked at.
    """

    unreached = 0

    def __init__(
        self, store: _Store, chosen: np.ndarray, *, classes: tuple[str, ...] | None = None
    ) -> None:
        self._store, self._chosen, self._classes = store, chosen, classes
        self.origin: Origin = store.origin

    @property
    def names(self) -> tuple[str, ...]:
        """Classes: directories that hold the items, sorted, or those of ``with_classes``.

        Of all items, whichever part this is.
        """
        return tuple(sorted(self._store.labels)) if self._classes is None else self._classes

    def labels(self) -> np.ndarray:
        """Number each directory by its position in ``names``, -1 if not there: (n,) int64."""
        order = {name: number for number, name in enumerate(self.names)}
        table = np.array([order.get(name, -1) for name in self._store.labels], dtype=np.int64)
        out: np.ndarray = table[np.frombuffer(self._store.label, np.int32)[self._chosen]]
        return out

    def with_classes(self, classes: Sequence[str]) -> CodeItems:
        """Number the same items by the classes of a model that exists already."""
        return CodeItems(self._store, self._chosen, classes=tuple(classes))

    @property
    def extents(self) -> np.ndarray:
        """Extent of each item's signal: (n, rank) int64."""
        flat = np.frombuffer(self._store.extents, np.int64)
        out: np.ndarray = flat.reshape(len(self._store), -1)[self._chosen]
        return out

    @property
    def tokens(self) -> int:
        """Codes of all items together."""
        ends = np.frombuffer(self._store.ends, np.int64)
        return int(np.diff(ends, prepend=0)[self._chosen].sum())

    def subset(self, chosen: np.ndarray) -> CodeItems:
        """Choose items by their numbers in these."""
        return CodeItems(self._store, self._chosen[chosen], classes=self._classes)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> str:
        return self._store.name(int(self._chosen[index]))

    def levels(self, index: int) -> tuple[np.ndarray, ...]:
        """Read an item's codes, (*axes) of each level, as they lie in the file."""
        return self._store.levels(int(self._chosen[index]))


class _Store:
    """Stores all items in a file, appended one by one."""

    def __init__(self, origin: Origin, file: BinaryIO) -> None:
        self.origin, self._file = origin, file
        widest = max(DTYPES.index(level.dtype) for level in origin.spec.levels)
        self._dtype = np.dtype(DTYPES[widest])
        self._codes = np.zeros(0, self._dtype)
        self.ends, self.extents, self.label = array("q"), array("q"), array("i")
        self.labels: dict[str, int] = {}
        self._names, self._name_ends = bytearray(), array("q")

    def add(self, found: Found) -> None:
        """Append an item: each channel of a recording is one of its own."""
        for channel in range(len(found.codes)):
            flat = [level[channel].reshape(-1) for level in found.codes.levels]
            codes = np.concatenate(flat).astype(self._dtype, copy=False)
            self._file.write(codes.tobytes())
            self.ends.append((self.ends[-1] if self.ends else 0) + len(codes))
            self.extents.extend(found.codes.extent)
            self.label.append(self.labels.setdefault(found.label, len(self.labels)))
            self._names += found.name.encode("utf-8", "surrogateescape")
            self._name_ends.append(len(self._names))

    def seal(self) -> None:
        """End appending: the file may be closed, its content stays."""
        self._file.flush()
        self._codes = np.memmap(self._file, dtype=self._dtype, mode="r")

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, at: int) -> str:
        start = self._name_ends[at - 1] if at else 0
        return self._names[start : self._name_ends[at]].decode("utf-8", "surrogateescape")

    def levels(self, at: int) -> tuple[np.ndarray, ...]:
        rank = len(self.extents) // len(self.ends)
        extent = tuple(self.extents[at * rank : (at + 1) * rank])
        shapes = self.origin.shapes(extent)
        start = self.ends[at - 1] if at else 0
        out = []
        for shape in shapes:
            stop = start + math.prod(shape)
            out.append(np.asarray(self._codes[start:stop]).reshape(shape))
            start = stop
        return tuple(out)


def is_codes(data: Sequence[str]) -> bool:
    """Tell whether ``--data`` names codes: corpora, codes files, folders of them without media.

    Only names are looked at.
    """
    return all(map(_is_codes, data))


def _is_codes(name: str) -> bool:
    path = Path(name)
    if not path.is_dir():
        return MODALITIES.get(path.suffix.lower()) == "codes"
    if is_corpus(path):
        return True
    none = True
    for _, suffix in walk(name, []):
        kind = MODALITIES.get(suffix)
        if kind not in (None, "codes"):
            return False
        none = none and kind is None
    return not none


def find_codes(data: Sequence[str]) -> tuple[CodeItems, dict[str, str]]:
    """Read all codes under corpora, folders, files, patterns and ``@lists``.

    Returns:
        The codes, and why each file that could not be read was left out, by name.

    Raises:
        UsageError: codes of two models or depths in one, or of none.
        CodesError: no codes, or a corpus that is unfinished or damaged.
    """
    found = places_of(data)
    unreadable = {name: error.without(name) for name, error in found.failures}
    with tempfile.TemporaryFile() as file:
        store = _fill(gather(found.corpora, found.loose), cast(BinaryIO, file), unreadable)
        if store is not None:
            store.seal()
    if store is None:
        name, why = next(iter(unreadable.items()), ("--data", f"no codes in {', '.join(data)}"))
        hint = "a prior is trained on codes: vqtok encode FOLDER/ -o CODES/"
        raise CodesError(name, why, hint=hint)
    items = CodeItems(store, np.arange(len(store)))
    items.unreached = len(found.failures)
    return items, unreadable


def _fill(
    items: Iterable[Found | Unread], file: BinaryIO, unreadable: dict[str, str]
) -> _Store | None:
    store: _Store | None = None
    first: Found | None = None
    for each in items:
        if isinstance(each, Unread):
            unreadable[each.name] = each.error.without(each.name)
            continue
        if store is None or first is None:
            first = each
            depth = each.codes.depth
            store = _Store(Origin(each.codes.spec, each.header.model, depth), file)
        _check_same(first, each)
        store.add(each)
    return store


def _check_same(first: Found, other: Found) -> None:
    if first.codes.spec != other.codes.spec:
        raise UsageError(
            "--data",
            f"codes of two models: {first.name} of {_model(first)}, "
            f"{other.name} of {_model(other)}",
            hint="a prior is of the codes of one model",
        )
    if first.codes.depth != other.codes.depth:
        raise UsageError(
            "--data",
            f"{first.name} has {first.codes.depth} stages, {other.name} has {other.codes.depth}",
            hint="vqtok encode --depth N makes all alike",
        )


def _model(found: Found) -> str:
    return f"{found.header.model or 'a model'} ({found.header.spec.fingerprint or 'unknown'})"
