"""Every step that a corpus takes on disk: append, sync, rename, remove; any may be the last."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vqtok.errors import CodesError

_CHUNK = 1 << 20
_AT_ONCE = 16


@dataclass(frozen=True)
class ByteRange:
    """Names some bytes of one of a corpus' files, and what they hash to."""

    path: str
    start: int
    bytes: int
    sha256: str

    def check(self, folder: Path) -> None:
        """Read the bytes and refuse others than were written.

        Raises:
            CodesError: naming the file: unreadable, too short, or with another checksum.
        """
        path = folder / self.path
        try:
            found = measure(folder, self.path, start=self.start, size=self.bytes)
        except OSError as error:
            raise CodesError(path, f"cannot read: {error.strerror or error}") from error
        if found.bytes < self.bytes:
            size, expected = self.start + found.bytes, self.start + self.bytes
            raise CodesError(path, f"truncated: {size} bytes found, {expected} expected")
        if found != self:
            raise CodesError(path, "damaged: another checksum than when it was written")


def measure(folder: Path, path: str, *, start: int = 0, size: int) -> ByteRange:
    """Read so many bytes of a file, fewer if it ends before, and return what they hash to.

    Raises:
        OSError: unreadable, a link, or anything but a regular file.
    """
    hasher, rest = hashlib.sha256(), size
    with regular(folder / path) as stream:
        stream.seek(start)
        while rest and (data := stream.read(min(_CHUNK, rest))):
            hasher.update(data)
            rest -= len(data)
    return ByteRange(path, start, size - rest, hasher.hexdigest())


class Output(io.RawIOBase):
    """Appends to a file and hashes what goes through it; once closed, what was not synced is lost.

    Args:
        path: Made, or emptied, or cut to ``start``.
        start: Bytes to keep.
        name: Of the file in the corpus; "": that of the path.

    Attributes:
        size: Bytes written, those still in its buffer included.
    """

    def __init__(self, path: Path, *, start: int = 0, name: str = "") -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        os.ftruncate(self._file, start)
        os.lseek(self._file, start, os.SEEK_SET)
        self._name, self._start = name or path.name, start
        self._hash = hashlib.sha256()
        self._waiting = bytearray()
        self.size = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self.size

    def write(self, data: Any) -> int:
        """Take all of the bytes-like object."""
        count = memoryview(data).nbytes
        self._hash.update(data)
        self._waiting += data
        self.size += count
        if len(self._waiting) >= _CHUNK:
            self.flush()
        return count

    def flush(self) -> None:
        """Hand everything to the system."""
        if not self.closed:
            append(self._file, self._waiting)
            self._waiting = bytearray()

    def sync(self) -> None:
        """Return when everything is on the disk."""
        self.flush()
        os.fsync(self._file)

    def close(self) -> None:
        """Give the file back."""
        if not self.closed:
            self._waiting = bytearray()  # nothing may be written after an error
            os.close(self._file)
        super().close()

    @property
    def written(self) -> ByteRange:
        """Return what was written, and where."""
        return ByteRange(self._name, self._start, self.size, self._hash.hexdigest())


class Lasting:
    """Keeps an output open when pyarrow would close it."""

    closed = False

    def __init__(self, out: Output) -> None:
        self._out = out

    def write(self, data: Any) -> int:
        """Append bytes."""
        return self._out.write(data)

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._out.tell()

    def flush(self) -> None:
        """Give what is buffered to the file."""
        self._out.flush()

    def close(self) -> None:
        """Do nothing: its owner closes it."""


def append(file: int, data: bytes | bytearray) -> None:
    """Write all of it at the file's position."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def put(path: Path, data: bytes, *, by_way_of: Path) -> None:
    """Make a file in one step: written and synced under one name, then renamed to the other."""
    with Output(by_way_of) as out:
        out.write(data)
        out.sync()
    move(by_way_of, path)


def move(source: Path, target: Path) -> None:
    """Rename, replacing the target, and make that last."""
    os.replace(source, target)  # noqa: PTH105 -- every step goes through os, where tests stop it
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """Delete a file that may be gone already."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108


def remove_tree(folder: Path) -> None:
    """Delete a folder of ours that may be gone already."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)


def size_of(path: Path) -> int:
    """Return the bytes of a file; -1 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync(folder)


def sync_files(paths: Iterable[Path]) -> None:
    """Return when files that were closed are on the disk.

    Many are synced at once: waiting for each in turn takes tens of times as long.
    """
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(_sync, paths))


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def subfolder(folder: Path, parts: tuple[str, ...]) -> Path:
    """Make nested folders, refusing to pass through a link.

    Raises:
        CodesError: a link, or something that is no folder, lies in the way.
    """
    for part in parts:
        folder = folder / part
        with suppress(FileExistsError):
            os.mkdir(folder)  # noqa: PTH102
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise CodesError(folder, "in the way of a folder of the corpus")
    return folder


@contextmanager
def regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading, neither following a last link nor waiting for a pipe.

    Raises:
        OSError: missing, unreadable, or anything but a regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield stream
