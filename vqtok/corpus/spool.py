"""The spool of one shard: results in the order in which they arrived, each on its own.

A record is a CRC-32 of all that follows, the payload's length, the item's number, what the payload
is, and the payload: codes as ``.safetensors``, those with what is carried beside them
(``items.pack``), or the reason of a failure. A process that is killed
leaves at most one torn record, at the end; everything from the first bad record on is cut off.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vqtok.corpus import disk
from vqtok.errors import CodesError

CODES, FAILURE, CARRIED = 0, 1, 2

_HEAD = struct.Struct("<IQQB")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Record:
    """Says where one result lies in a spool."""

    number: int
    kind: int
    start: int
    length: int
    crc: int


def name(shard: int) -> str:
    """Return the name of a shard's spool."""
    return f"spool-{shard:05d}"


def append(path: Path, number: int, kind: int, payload: bytes) -> None:
    """Write one result at the end of a spool, which is made if it is missing."""
    rest = _rest(number, kind, len(payload))
    crc = struct.pack("<I", zlib.crc32(payload, zlib.crc32(rest)))
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        start = os.fstat(file).st_size
        try:
            disk.append(file, crc + rest + payload)
        except BaseException:  # a full disk, Ctrl-C: half a record must not hide those after it
            os.ftruncate(file, start)
            raise
    finally:
        os.close(file)


def recover(path: Path, *, first: int, count: int) -> list[Record]:
    """Find a spool's whole records, reading everything, and cut off what follows them.

    Args:
        path: A missing file is an empty spool.
        first: Lowest number that belongs here.
        count: Numbers that belong here.

    Returns:
        The first record of every item, by number.
    """
    found: dict[int, Record] = {}
    stop = 0
    try:
        with disk.regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            for record in _whole(stream, size):
                if not first <= record.number < first + count:
                    break
                found.setdefault(record.number, record)
                stop = record.start + record.length
    except FileNotFoundError:
        return []
    if size > stop:
        os.truncate(path, stop)
    return [found[number] for number in sorted(found)]


def numbers(path: Path, *, first: int, count: int) -> dict[int, int]:
    """Return the kind of each item's first whole record by its number; the file stays as it is."""
    found: dict[int, int] = {}
    with suppress(FileNotFoundError), disk.regular(path) as stream:
        for record in _whole(stream, os.fstat(stream.fileno()).st_size):
            if not first <= record.number < first + count:
                break
            found.setdefault(record.number, record.kind)
    return found


def payload(stream: BinaryIO, record: Record) -> bytes:
    """Read one result back.

    Raises:
        CodesError: the disk gave back something else.
    """
    stream.seek(record.start)
    data = stream.read(record.length)
    rest = _rest(record.number, record.kind, record.length)
    if len(data) != record.length or zlib.crc32(data, zlib.crc32(rest)) != record.crc:
        raise CodesError("damaged spool: run the command again")
    return data


def _rest(number: int, kind: int, length: int) -> bytes:
    # What follows the checksum in a record's head, and is part of it.
    return _HEAD.pack(0, length, number, kind)[4:]


def _whole(stream: BinaryIO, size: int) -> Iterator[Record]:
    start = 0
    while start + _HEAD.size <= size:
        stream.seek(start)
        head = stream.read(_HEAD.size)
        crc, length, number, kind = _HEAD.unpack(head)
        start += _HEAD.size
        if kind not in (CODES, FAILURE, CARRIED) or start + length > size:
            return
        found, rest = zlib.crc32(head[4:]), length
        while rest and (data := stream.read(min(_CHUNK, rest))):
            found, rest = zlib.crc32(data, found), rest - len(data)
        if rest or found != crc:
            return
        yield Record(number, kind, start, length, crc)
        start += length
