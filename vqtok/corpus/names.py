"""Names of a corpus' own files and of items, and the unique path that an item's name becomes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence

import numpy as np

from vqtok.errors import CodesError, UsageError

INDEX = "index.json"
FAILED = "failed.jsonl"
ITEMS = "items.jsonl"
HISTOGRAM = "histogram.npy"
TOKENS = "tokens.bin"
STATE = ".vqtok"
"""Folder of an unfinished corpus' spools and log; gone when it is complete."""

COMMAND = "command"
"""In the state: what a person types to go on."""

_LONGEST = 255 - len(".safetensors")  # bytes in a file name on common file systems
_TAKEN = (INDEX, FAILED, ITEMS, HISTOGRAM, "tokens.bin", "tokens.idx", STATE)
"""Names that no folder of items gets, whatever the format."""
_ELSEWHERE = frozenset(("", ".", ".."))
_HIDDEN = re.compile(r"__[^/]*__(/|$)")


def fault(name: object) -> str | None:
    """Return what makes a name unusable as a relative POSIX path, None if nothing does."""
    if not isinstance(name, str) or not name:
        return "not a name"
    if name.startswith("/"):
        return "absolute"
    if not _ELSEWHERE.isdisjoint(name.split("/")):
        return "leads elsewhere"
    if "\0" in name or "\\" in name:
        return "holds a character that no portable name may hold"
    return None


def read(name: object) -> str:
    """Check a name of a corpus that someone else may have made.

    Raises:
        CodesError: absolute, or leading out of its folder.
    """
    wrong = fault(name)
    if wrong or not isinstance(name, str):
        raise CodesError(f"unsafe name {name!r}: {wrong}")
    return name


def digest(names: Sequence[str]) -> str:
    """Return the SHA-256 of the list of names, order included."""
    hasher = hashlib.sha256()
    for name in names:
        hasher.update(json.dumps(name).encode() + b"\n")
    return hasher.hexdigest()


class Keys:
    """Makes the unique path of each item, without suffix, from its name.

    A key is the name without its suffix ("cats/1.png" → "cats/1"). Those that would share one keep
    their suffix ("a.png", "a.jpg"); those that still would get a digest of their name. Names that
    differ in case alone count as equal: some file systems take them for one.

    Args:
        names: All names of the corpus. They are read again for each key, not copied.
        dots: False: no dot in the last part, which WebDataset would cut there.
        suffixes: What is put behind a key to make a file of it.
        parts: Items of each run that added some: those before keep their keys. (): one run.
        in_folder: Those files lie among the corpus' own, and none may be called as one of them.

    Raises:
        UsageError: a name that is unusable or there twice.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        dots: bool,
        suffixes: tuple[str, ...],
        parts: Sequence[int] = (),
        in_folder: bool = False,
    ) -> None:
        self._names = names
        self._dots = dots
        self._suffixes = suffixes
        self._own = _TAKEN if in_folder else ()
        for name in names:
            if wrong := fault(name):
                raise UsageError(repr(name), f"cannot name an item: {wrong}")
        twice = _repeated(_hashes(iter(names), len(names)))
        if twice.any():
            raise UsageError(repr(names[int(twice.argmax())]), "there twice among the items")
        self._effort = np.zeros(len(names), np.uint8)
        self._folders: set[str] = set()
        taken = np.zeros(0, np.uint64)
        for part in parts or (len(names),):
            taken = np.concatenate([taken, self._resolve(len(taken), part, taken)])

    def _resolve(self, first: int, count: int, taken: np.ndarray) -> np.ndarray:
        """Make the keys of a part differ from each other and from those before; their hashes."""
        effort = self._effort[first : first + count]
        while True:
            clashes, hashes = self._clashes(range(first, first + count), taken)
            if not clashes.any():
                return hashes
            if (effort[clashes] >= _FULL).all():
                culprit = self._names[first + int(clashes.argmax())]
                raise UsageError(repr(culprit), "cannot be told from another item")
            effort[clashes] = np.minimum(effort[clashes] + 1, _FULL)

    def __getitem__(self, number: int) -> str:
        """Return the key of an item."""
        return _key(self._names[number], int(self._effort[number]), dots=self._dots)

    def _clashes(self, numbers: range, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Hashes instead of the keys themselves: millions of names need few megabytes.
        folders = self._folders

        def keys() -> Iterator[str]:
            for number in numbers:
                key = self[number].casefold()
                for suffix in self._suffixes:
                    if suffix + "/" in key:
                        folders.update(_folders(key, suffix))
                yield key

        hashes = _hashes(keys(), len(numbers))
        clashes = _repeated(hashes) | np.isin(hashes, taken)
        if folders or self._own:
            for at, number in enumerate(numbers):
                files = [self[number].casefold() + suffix for suffix in self._suffixes]
                clashes[at] |= any(file in folders or file in self._own for file in files)
        return clashes, hashes


_FULL = 2


def _key(name: str, effort: int, *, dots: bool) -> str:
    *folders, last = name.split("/")
    stem, dot, _ = last.rpartition(".")
    key = stem if effort == 0 and dot and stem else last
    if effort == _FULL:
        key += "-" + _short(name)
    if not dots:
        key = key.replace(".", "_")
    if folders and folders[0].casefold() in _TAKEN:
        folders[0] = "_" + folders[0]
    parts = [_fitting(part) for part in (*folders, key)]
    whole = "/".join(parts)
    # WebDataset takes such a first part for a mark of its own and skips the member.
    return "x" + whole if not dots and _HIDDEN.match(whole) else whole


def _fitting(part: str) -> str:
    """Make a part printable and short enough for file systems; a digest marks what was changed."""
    if part.isprintable() and len(part.encode()) <= _LONGEST:
        return part
    clean = "".join(letter if letter.isprintable() else "_" for letter in part)
    short = clean.encode()[: _LONGEST - 9].decode(errors="ignore")
    return f"{short}-{_short(part)}"


def _folders(key: str, suffix: str) -> Iterator[str]:
    """Yield the folders above a key that are called like files."""
    parts = key.split("/")
    for depth, part in enumerate(parts[:-1], start=1):
        if part.endswith(suffix):
            yield "/".join(parts[:depth])


def _short(text: str) -> str:
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()[:8]


def _hashes(texts: Iterator[str], count: int) -> np.ndarray:
    digests = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in texts
    )
    return np.fromiter(digests, "V8", count).view(np.uint64)


def _repeated(hashes: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)
