"""Media files inside uncompressed tars, read in place: nothing is ever extracted.

The headers are scanned once; a member is then an offset and a size. Names are only names: nothing
is opened or written by them. Standard library only.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from vqtok.errors import MediaError
from vqtok.media.kinds import HEAD_BYTES, MODALITIES, Kind, LeftOut, compressed, sniff
from vqtok.media.opening import os_message

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")

# What ``decode`` and ``eval`` write is no input, in a tar as in a directory.
_OUTPUT_MARK = ".recon"
# A header that extends another one holds a path or a few numbers; tarfile would read any size.
_LONGEST_HEADER = 1 << 20
_LONGEST_NAME, _LONGEST_PART = 1024, 255
"""Bytes of a member's name: codes and decoded files are called after it."""
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError, IndexError)


class Member(NamedTuple):
    """One file inside a tar.

    Attributes:
        tar: The tar.
        name: Its name there, as the tar spells it.
        offset: Where its bytes begin.
        size: How many there are.
    """

    tar: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return str(self.tar / self.name.lstrip("/"))

    def open(self) -> BinaryIO:
        """Makes a stream of the member's bytes alone, seekable; closing it closes the tar."""
        return cast(BinaryIO, io.BufferedReader(_Window(self)))


class Found(NamedTuple):
    """A member of a wanted kind, or one that would be if it were a plain file with a plain name."""

    member: Member
    kind: Kind
    problem: MediaError | None


def members(tar: Path, kinds: Collection[Kind], left_out: LeftOut) -> Iterator[Found]:
    """Members of the wanted kinds, by suffix or else by content, in the order in which they lie.

    Hidden names and our own ``*.recon.*`` are passed over. Links, devices, sparse files and names
    that lead outside come with the problem.

    Args:
        tar: To read.
        kinds: To take.
        left_out: Takes the members of other kinds.

    Raises:
        MediaError: no tar, or damaged, after the members before the damage were given.
    """
    for info, size in _headers(tar):
        found = _found(tar, info, kinds, size, left_out)
        if found is not None:
            yield found


def others(tar: Path, suffixes: Collection[str]) -> Iterator[Member]:
    """Members with other suffixes, in the order in which they lie; size -1: no plain file.

    Raises:
        MediaError: as ``members``.
    """
    for info, size in _headers(tar):
        if PurePosixPath(info.name).suffix.lower() in suffixes and not info.isdir():
            whole = 0 <= info.size <= size - info.offset_data
            plain = info.isreg() and not info.issparse() and whole
            yield Member(tar, info.name, info.offset_data, info.size if plain else -1)


def _headers(tar: Path) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Headers of a tar, each with the size of the tar.

    Raises:
        MediaError: as ``members``.
    """
    end = 0
    try:
        with tar.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(6).startswith(_MAGIC):
                raise compressed(tar)
            file.seek(0)
            with tarfile.open(fileobj=cast(BinaryIO, _Headers(file, size)), mode="r:") as archive:
                while (info := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep every header
                    end = info.offset_data + info.size
                    yield info, size
    except OSError as error:
        raise MediaError(tar, f"cannot read: {os_message(error)}") from error
    except _DAMAGE as error:
        where = f" after byte {end}" if end else ""
        reason = " ".join(str(error).split())
        raise MediaError(tar, f"not a tar, or damaged{where}: {reason}") from error


def _found(
    tar: Path, info: tarfile.TarInfo, kinds: Collection[Kind], size: int, left_out: LeftOut
) -> Found | None:
    path = PurePosixPath(info.name)
    hidden = any(part.startswith(".") and part not in (".", "..") for part in path.parts)
    if info.isdir() or hidden or path.stem.endswith(_OUTPUT_MARK):
        return None
    member = Member(tar, info.name, info.offset_data, info.size)
    kind = MODALITIES.get(path.suffix.lower()) or _kind_by_bytes(info, member)
    if kind is None or kind not in kinds:
        left_out.add(str(member), kind)
        return None
    reason = ""
    if info.issym() or info.islnk():
        reason = f"a link to {info.linkname!r}, which is not followed"
    elif not info.isreg() or info.issparse():
        reason = "not a plain file"
    elif path.is_absolute() or ".." in path.parts:
        reason = "a name that leads outside the tar"
    elif not _could_be_file(path):
        reason = "a name that no file can have: it is too long"
    elif info.size < 0 or info.offset_data + info.size > size:
        reason = "truncated: the tar ends before it"
    return Found(member, kind, MediaError(member, reason) if reason else None)


def _kind_by_bytes(info: tarfile.TarInfo, member: Member) -> Kind | None:
    if not info.isreg() or info.issparse() or info.size < 1:
        return None
    with member.open() as stream:
        return sniff(stream.read(HEAD_BYTES))


def _could_be_file(path: PurePosixPath) -> bool:
    # Not even one whose corpus and suffix come around it.
    sizes = [len(part.encode("utf-8", "surrogateescape")) for part in path.parts]
    return sum(sizes) + len(sizes) <= _LONGEST_NAME and max(sizes, default=0) <= _LONGEST_PART


class _Headers:
    """A tar as its headers are read: no header makes tarfile read much, or for ever."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        # Each header is read once, and one byte before it.
        self._left = 2 * size + _LONGEST_HEADER

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError("a header of absurd size")
        data = self._file.read(size)
        self._left -= max(1, len(data))
        if self._left < 0:
            raise tarfile.ReadError("headers in a circle")
        return data


class _Window(io.RawIOBase):
    """Some bytes of a file as a file of their own."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.name = str(member)
        self._file = member.tar.open("rb", buffering=0)
        self._offset, self._size, self._position = member.offset, member.size, 0

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(0, self._size - self._position))
        self._file.seek(self._offset + self._position)
        done = self._file.readinto(view[:count]) or 0
        self._position += done
        return done

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("seek before the start")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
