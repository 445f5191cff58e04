"""Texts that belong to items: JSON Lines, tables, archives and files beside, found by key.

An item is known by its name ("cats/1.png") or by its name without the suffix ("cats/1"). Of texts
in one file only 24 bytes each are in memory.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any, Protocol

import numpy as np

from vqtok import regular
from vqtok.corpus.items import LARGEST, load
from vqtok.corpus.runs import RunItem
from vqtok.errors import CodesError, ConfigError, UsageError

KEYS = ("key", "__key__", "file_name", "name", "image", "audio", "path", "file")
TEXTS = ("text", "caption", "transcript", "txt")
SUFFIXES = (".txt", ".json")

_LONGEST_LINE = 1 << 24


@dataclass(frozen=True)
class Unread:
    """Says why the text of an item cannot be read."""

    reason: str


Found = str | Unread | None
"""Text of an item; None: it has none."""


class Texts(Protocol):
    """Finds the text of an item."""

    def of(self, items: Sequence[RunItem]) -> Sequence[Found]:
        """Return the text of each item."""
        ...

    def unused(self) -> Iterator[str]:
        """Yield the keys of texts that no item had."""
        ...

    def digest(self) -> str:
        """Return what is another when texts are others."""
        ...

    def close(self) -> None:
        """Give files back."""
        ...


class Carried:
    """Finds texts that a corpus carries with its items: "txt", else the text in "json"."""

    def of(self, items: Sequence[RunItem]) -> Sequence[Found]:
        """Return the text of each item."""
        return [_of_files(item.carried) for item in items]

    def unused(self) -> Iterator[str]:
        """Yield nothing: what is carried has its item."""
        yield from ()

    def digest(self) -> str:
        """Return what says that texts are the corpora's own."""
        return "carried"

    def close(self) -> None:
        """Do nothing."""


class Beside:
    """Finds ``cats/1.txt`` or ``cats/1.json`` of item "cats/1.png" below a folder.

    Args:
        folder: With the texts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, items: Sequence[RunItem]) -> Sequence[Found]:
        """Return the text of each item."""
        return [self._one(item) for item in items]

    def unused(self) -> Iterator[str]:
        """Yield nothing: a folder may hold what it likes."""
        yield from ()

    def digest(self) -> str:
        """Hash names, sizes and times of change of all such files."""
        hasher = hashlib.sha256()
        for path in sorted(self._folder.rglob("*")):
            if path.suffix in SUFFIXES:
                state = path.stat()
                line = [path.relative_to(self._folder).as_posix(), state.st_size, state.st_mtime_ns]
                hasher.update(json.dumps(line).encode())
        return hasher.hexdigest()

    def close(self) -> None:
        """Do nothing."""

    def _one(self, item: RunItem) -> Found:
        stem = self._folder / PurePosixPath(item.name)
        found: dict[str, bytes] = {}
        for place in (stem.with_suffix(""), stem):
            for suffix in SUFFIXES:
                path = place.with_name(place.name + suffix)
                if suffix[1:] not in found and path.is_file():
                    try:
                        found[suffix[1:]] = regular.read(path, most=LARGEST)
                    except OSError as error:
                        return Unread(f"cannot read {path}: {error.strerror}")
        return _of_files(found)


class Lines:
    """Finds texts in a file of JSON Lines, by the key on each line.

    Args:
        stream: The file; it is kept open.
        subject: Its name, for errors.
        key: Name of the key's field; None: the first of ``KEYS`` that the first line has.
        text: Name of the text's; None: the first of ``TEXTS``.

    Raises:
        ConfigError: a line that is no JSON object, or has no key or no text.
        CodesError: two lines of one key.
    """

    def __init__(
        self, stream: IO[bytes], subject: object, *, key: str | None, text: str | None
    ) -> None:
        self._stream, self._subject, self._key, self._text = stream, subject, key, text
        hasher = hashlib.sha256()
        hashes, starts, position, number = bytearray(), bytearray(), 0, 0
        stream.seek(0)
        for number, line in enumerate(_lines(stream, subject), start=1):
            hasher.update(line)
            if line.strip():
                hashes += hash_of(self._parse(line, number)[0])
                starts += position.to_bytes(8, "little")
            position += len(line)
        self._digest = hasher.hexdigest()
        found = np.frombuffer(hashes, "<u8")
        by_hash = np.argsort(found, kind="stable")
        self._hashes = found[by_hash]
        self._starts = np.frombuffer(starts, "<i8")[by_hash]
        self._used = np.zeros(len(found), bool)
        self._refuse_twice()

    def of(self, items: Sequence[RunItem]) -> Sequence[Found]:
        """Return the text of each item."""
        found: list[str | None] = [None] * len(items)
        for with_suffix in (True, False):
            left = [number for number, text in enumerate(found) if text is None]
            keys = [key_of(items[number].name, suffix=with_suffix) for number in left]
            for number, text in zip(left, self._find(keys), strict=True):
                found[number] = text
        return found

    def unused(self) -> Iterator[str]:
        """Yield the keys of texts that no item had, in the file's order."""
        for start in np.sort(self._starts[~self._used]).tolist():
            yield self._at(start)[0]

    def digest(self) -> str:
        """Return the SHA-256 of the file."""
        return self._digest

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _find(self, keys: Sequence[str]) -> list[str | None]:
        if not len(self._hashes):
            return [None] * len(keys)
        hashes = np.frombuffer(b"".join(map(hash_of, keys)), "<u8")
        places = np.searchsorted(self._hashes, hashes)
        found: list[str | None] = []
        for key, own, place in zip(keys, hashes.tolist(), places.tolist(), strict=True):
            text = None
            while text is None and place < len(self._hashes) and self._hashes[place] == own:
                known, value = self._at(int(self._starts[place]))
                if known == key:
                    text, self._used[place] = value, True
                place += 1
            found.append(text)
        return found

    def _refuse_twice(self) -> None:
        same = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        for place in same.tolist():
            one, two = (self._at(int(self._starts[place + n]))[0] for n in (0, 1))
            if one == two:
                raise CodesError(self._subject, f"two texts of the key {one!r}")

    def _at(self, start: int) -> tuple[str, str]:
        self._stream.seek(start)
        return self._parse(self._stream.readline(), 0)

    def _parse(self, line: bytes, number: int) -> tuple[str, str]:
        where = f"{self._subject}: line {number}" if number else str(self._subject)
        try:
            data = json.loads(line.decode())
        except UnicodeDecodeError as error:
            raise ConfigError(where, "not UTF-8") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(where, "not a JSON object") from error
        if not isinstance(data, dict):
            raise ConfigError(where, "not a JSON object")
        if self._key is None:
            self._key = _field(data, KEYS, where, "key")
        if self._text is None:
            self._text = _field(data, TEXTS, where, "text")
        found = []
        for name in (self._key, self._text):
            value = data.get(name)
            if not isinstance(value, str):
                what = "is missing" if name not in data else "is not text"
                raise ConfigError(where, f"{name!r} {what}")
            found.append(value)
        return found[0].removeprefix("./"), found[1]


def open_texts(place: str | None, *, key: str | None = None, text: str | None = None) -> Texts:
    """Open what ``--text`` names.

    Args:
        place: ``.jsonl``, ``.parquet`` or ``.tar``, a folder, or None: what corpora carry.
        key: Name of the field or column of keys.
        text: Name of that of texts.

    Raises:
        UsageError: no such file, or an extra that is not installed.
        ConfigError, CodesError: not such a file.
    """
    if place is None:
        return Carried()
    path = Path(place)
    if path.is_dir():
        return Beside(path)
    if not path.exists():
        raise UsageError(f"--text {place}", "no such file")
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".json"):
        return _opened(regular.opened(path), path, key, text)
    if suffix not in (".parquet", ".tar"):
        hint = ".jsonl, .parquet, .tar or a folder"
        raise UsageError(f"--text {place}", "unknown kind of texts", hint=hint)
    rows = _of_table(path, key, text) if suffix == ".parquet" else _of_tar(path)
    spool: IO[bytes] = TemporaryFile()  # noqa: SIM115 -- as long as the texts are read
    try:
        for name, value in rows:
            spool.write(json.dumps({"key": name, "text": value}).encode() + b"\n")
    except BaseException:
        spool.close()
        raise
    return _opened(spool, path, "key", "text")


def _opened(stream: IO[bytes], path: Path, key: str | None, text: str | None) -> Lines:
    try:
        return Lines(stream, path, key=key, text=text)
    except BaseException:
        stream.close()
        raise


def _lines(stream: IO[bytes], subject: object) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ConfigError(subject, f"a line of more than {_LONGEST_LINE >> 20} MB")
        yield line


def hash_of(key: str) -> bytes:
    """Return eight bytes that keys are found by; others may share them."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def key_of(name: str, *, suffix: bool) -> str:
    """Return an item's name, or that without its suffix."""
    if suffix:
        return name
    stem, dot, last = name.rpartition(".")
    return stem if dot and "/" not in last else name


def _field(data: Mapping[str, Any], names: Sequence[str], where: str, what: str) -> str:
    for name in names:
        if name in data:
            return name
    raise ConfigError(where, f"no field that is the {what}", hint=f"one of {', '.join(names)}")


def _of_files(found: Mapping[str, bytes]) -> Found:
    """Return the text in files beside an item: "txt", else a field of "json"."""
    try:
        if "txt" in found:
            return found["txt"].decode("utf-8-sig").strip()
        if "json" in found:
            data = load(found["json"])
            values = [data[field] for field in TEXTS if isinstance(data.get(field), str)]
            return values[0] if values else None
    except UnicodeDecodeError:
        return Unread("its text is not UTF-8")
    except CodesError:
        return Unread("its .json is not a JSON object")
    return None


def _of_sample(path: Path, key: str, found: Mapping[str, bytes]) -> str | None:
    """Return the text of a sample of an archive."""
    text = _of_files(found)
    if isinstance(text, Unread):
        raise CodesError(f"{path}: {key}", text.reason)
    return text


def _of_table(path: Path, key: str | None, text: str | None) -> Iterator[tuple[str, str]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError("parquet needs pyarrow", hint="pip install 'vqtok[arrow]'") from error
    try:
        file = pq.ParquetFile(path)
        present = dict.fromkeys(file.schema_arrow.names)
        key = key or _field(present, KEYS, str(path), "key")
        text = text or _field(present, TEXTS, str(path), "text")
        if missing := [name for name in (key, text) if name not in present]:
            raise ConfigError(path, f"no column {missing[0]!r}", hint=", ".join(present))
        for batch in file.iter_batches(columns=[key, text]):
            columns = (batch.column(name).to_pylist() for name in (key, text))
            for number, (name, value) in enumerate(zip(*columns, strict=True)):
                if not isinstance(name, str) or not isinstance(value, str):
                    raise ConfigError(path, f"row {number} of a group: no text in {key} or {text}")
                yield name, value
    except (pa.ArrowException, OSError) as error:
        raise CodesError(path, f"damaged: {error}") from error


def _of_tar(path: Path) -> Iterator[tuple[str, str]]:
    """Yield key and text of WebDataset samples."""
    found: dict[str, bytes] = {}
    last = ""
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]
                folder, slash, name = member.name.removeprefix("./").rpartition("/")
                stem, _, suffix = name.partition(".")
                key = folder + slash + stem
                if key != last:
                    if (text := _of_sample(path, last, found)) is not None:
                        yield last, text
                    last, found = key, {}
                if member.isreg() and suffix in ("txt", "json") and member.size <= LARGEST:
                    content = archive.extractfile(member)
                    found[suffix] = b"" if content is None else content.read()
    except (tarfile.TarError, OSError) as error:
        raise CodesError(path, f"damaged: {error}") from error
    if (text := _of_sample(path, last, found)) is not None:
        yield last, text
