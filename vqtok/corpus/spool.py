"""The spool of one shard: results in the order in which they arrived, each on its own.

A record is a CRC-32 of all that follows, the payload's length, the item's number, what the payload
is, and the payload: codes as ``.safetensors`` or the reason of a failure. A process that is killed
leaves at most one torn record, at the end; everything from the first bad record on is cut off.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vqtok.corpus import disk
from vqtok.errors import CodesError

CODES, FAILURE = 0, 1

_HEAD = struct.Struct("<IQQB")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Record:
    """Where one result lies in a spool."""

    number: int
    kind: int
    start: int
    length: int
    crc: int


def pack(number: int, kind: int, payload: bytes) -> bytes:
    """One record."""
    rest = _HEAD.pack(0, len(payload), number, kind)[4:]
    return struct.pack("<I", zlib.crc32(payload, zlib.crc32(rest))) + rest + payload


def scan(path: Path, *, first: int, count: int) -> tuple[list[Record], int]:
    """Find a spool's whole records, reading everything.

    Args:
        path: A missing file is an empty spool.
        first: Lowest number that belongs here.
        count: Numbers that belong here.

    Returns:
        The first record of every item by number, and the length of the part that is whole.
    """
    found: dict[int, Record] = {}
    stop = 0
    try:
        with disk.regular(path) as stream:
            for record in _whole(stream, os.fstat(stream.fileno()).st_size):
                if not first <= record.number < first + count:
                    break
                found.setdefault(record.number, record)
                stop = record.start + record.length
    except FileNotFoundError:
        pass
    return [found[number] for number in sorted(found)], stop


def payload(stream: BinaryIO, record: Record) -> bytes:
    """Read one result back.

    Raises:
        CodesError: the disk gave back something else.
    """
    stream.seek(record.start)
    data = stream.read(record.length)
    rest = _HEAD.pack(0, record.length, record.number, record.kind)[4:]
    if len(data) != record.length or zlib.crc32(data, zlib.crc32(rest)) != record.crc:
        raise CodesError("damaged spool: run the command again")
    return data


class Spools:
    """The spools that are being written, few of them open at a time.

    Args:
        folder: Where they lie.
    """

    _OPEN = 16  # items come nearly in order; a limit on open files must not stop those that do not

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, int] = {}
        self._unsynced: set[int] = set()

    def path(self, shard: int) -> Path:
        """Place of a shard's spool."""
        return self._folder / f"spool-{shard:05d}"

    def append(self, shard: int, record: bytes) -> None:
        """Write one packed record."""
        file = self._files.pop(shard, None)
        if file is None:
            while len(self._files) >= self._OPEN:
                self._close(next(iter(self._files)))
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            file = os.open(self.path(shard), flags, 0o666)
        self._files[shard] = file  # last: most recently used
        self._unsynced.add(shard)
        start = os.fstat(file).st_size
        try:
            disk.append(file, record)
        except BaseException:  # a full disk, Ctrl-C: half a record must not hide those after it
            os.ftruncate(file, start)
            raise

    def sync(self) -> None:
        """Return when every record is on the disk."""
        for shard in sorted(self._unsynced):
            os.fsync(self._files[shard])
        self._unsynced.clear()

    def remove(self, shard: int) -> None:
        """Forget a shard that was composed."""
        self._unsynced.discard(shard)
        file = self._files.pop(shard, None)
        if file is not None:
            os.close(file)
        disk.remove(self.path(shard))

    def close(self, *, sync: bool = True) -> None:
        """Close all."""
        for shard in list(self._files):
            self._close(shard, sync=sync)

    def _close(self, shard: int, *, sync: bool = True) -> None:
        file = self._files.pop(shard)
        try:
            if sync and shard in self._unsynced:
                os.fsync(file)
        finally:
            self._unsynced.discard(shard)
            os.close(file)


def _whole(stream: BinaryIO, size: int) -> Iterator[Record]:
    start = 0
    while start + _HEAD.size <= size:
        stream.seek(start)
        head = stream.read(_HEAD.size)
        crc, length, number, kind = _HEAD.unpack(head)
        if kind not in (CODES, FAILURE) or start + _HEAD.size + length > size:
            return
        found, rest = zlib.crc32(head[4:]), length
        while rest:
            data = stream.read(min(_CHUNK, rest))
            if not data:
                return
            found, rest = zlib.crc32(data, found), rest - len(data)
        if found != crc:
            return
        yield Record(number, kind, start + _HEAD.size, length, crc)
        start += _HEAD.size + length


def cut(path: Path, length: int) -> None:
    """Take off what follows the whole records."""
    if path.exists() and path.stat().st_size > length:
        os.truncate(path, length)
