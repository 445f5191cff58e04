"""Read and write the wire format of protocol buffers, as far as ONNX files need it.

A message is a sequence of fields, each a key (number · 8 + kind) and a value: an integer (kind 0),
or bytes behind their length (kind 2): texts, arrays and messages inside; a float32 is kind 5.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping

from vqtok.errors import CheckpointError

Value = int | float | bytes
Fields = Mapping[int, list[Value]]
"""Number of a field → its values, in order."""

_LONGEST = 10
"""Bytes of an integer of 64 bits."""

_SMALL = [bytes([value]) for value in range(128)]
"""Integers of one byte, which most are."""


def field(number: int, value: int | float | str | bytes) -> bytes:
    """Encode one field."""
    if isinstance(value, float):
        return _integer(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return _integer(number << 3) + _integer(value & (1 << 64) - 1)
    data = value.encode() if isinstance(value, str) else value
    return _integer(number << 3 | 2) + _integer(len(data)) + data


def fields(data: bytes) -> Fields:
    """Decode a message.

    Raises:
        CheckpointError: it ends too early, or holds kinds of values that ONNX has not.
    """
    found: defaultdict[int, list[Value]] = defaultdict(list)
    at = 0
    while at < len(data):
        key, at = _read(data, at)
        value: Value
        if key & 7 == 0:
            value, at = _read(data, at)
            value -= (value >> 63) << 64  # negative numbers are stored as their complement
        elif key & 7 == 5 and at + 4 <= len(data):
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        elif key & 7 == 2:
            size, at = _read(data, at)
            if at + size > len(data):
                raise CheckpointError("truncated")
            value, at = data[at : at + size], at + size
        else:
            raise CheckpointError("damaged")
        found[key >> 3].append(value)
    return found


def integers(found: Fields, number: int) -> tuple[int, ...]:
    """List a repeated integer, packed or not."""
    out: list[int] = []
    for value in found.get(number, ()):
        if isinstance(value, int):
            out.append(value)
        elif isinstance(value, bytes):
            at = 0
            while at < len(value):
                each, at = _read(value, at)
                out.append(each - ((each >> 63) << 64))
    return tuple(out)


def messages(found: Fields, number: int) -> list[Fields]:
    """Decode the messages of a field.

    Raises:
        CheckpointError: they are none.
    """
    return [fields(_bytes(value)) for value in found.get(number, ())]


def text(found: Fields, number: int) -> str:
    """Give the last text of a field, or "".

    Raises:
        CheckpointError: no text.
    """
    values = texts(found, number)
    return values[-1] if values else ""


def texts(found: Fields, number: int) -> tuple[str, ...]:
    """List the texts of a field.

    Raises:
        CheckpointError: no texts.
    """
    try:
        return tuple(_bytes(value).decode() for value in found.get(number, ()))
    except UnicodeDecodeError as error:
        raise CheckpointError("damaged") from error


def integer(found: Fields, number: int) -> int:
    """Give the last integer of a field, or 0."""
    values = integers(found, number)
    return values[-1] if values else 0


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise CheckpointError("damaged")
    return value


def _integer(value: int) -> bytes:
    if value < 128:
        return _SMALL[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read(data: bytes, at: int) -> tuple[int, int]:
    """Decode an integer: its value, and where it ends."""
    if at < len(data) and data[at] < 128:
        return data[at], at + 1
    value = 0
    for shift in range(_LONGEST):
        if at + shift >= len(data):
            raise CheckpointError("truncated")
        byte = data[at + shift]
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value & (1 << 64) - 1, at + shift + 1
    raise CheckpointError("damaged")
