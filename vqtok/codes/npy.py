"""``.npy`` at the byte level: records of integers, read without ever building anything else.

numpy documents that several arrays may be saved into one file one after the other. Record 0 is the
plain array, which is what ``np.load(path)`` returns; record 1, if we wrote the file, is the
header's JSON as uint8. The format is specified in
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. numpy's own reader is not
used because it allocates what a damaged header promises and can be talked into unpickling.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from vqtok.codes import _bytes
from vqtok.errors import CodesError

MAGIC = b"\x93NUMPY"
_LONGEST = 10_000  # numpy's own limit for a header's text
_INTEGERS = re.compile(r"[<>|=]?[iu][1248]")


@dataclass(frozen=True)
class Record:
    """Says where one array lies in the file; nothing is read yet."""

    dtype: str
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def stop(self) -> int:
        """Return the offset after the array."""
        return self.start + math.prod(self.shape) * int(self.dtype[-1])


def write(stream: BinaryIO, array: np.ndarray, header: str) -> None:
    """Write the array and, as record 1, the header's text."""
    append(stream, array)
    append(stream, np.frombuffer(header.encode(), dtype=np.uint8))


def append(stream: BinaryIO, array: np.ndarray) -> None:
    """Write one record, without a second copy of its data."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    head = io.BytesIO()
    described = np.lib.format.header_data_from_array_1_0(little)
    np.lib.format.write_array_header_1_0(head, described)
    _bytes.write(stream, head.getbuffer())
    _bytes.write(stream, _bytes.view(little))


def record(stream: BinaryIO, start: int, size: int) -> Record:
    """Parse the record header at ``start`` of a file of ``size`` bytes.

    Raises:
        CodesError: damaged, truncated, or not integers.
    """
    stream.seek(start)
    result = next_record(stream, start)
    if result.stop > size:
        raise CodesError(f"truncated: {size} bytes found, {result.stop} expected")
    return result


def next_record(stream: BinaryIO, start: int = 0) -> Record:
    """Parse the record header that a stream is at; its data, which follows, is not looked for.

    Args:
        stream: Need not be able to seek.
        start: Where in the file the stream is.

    Raises:
        CodesError: damaged, truncated, or not integers.
    """
    prefix = stream.read(8)
    if prefix[:6] != MAGIC or len(prefix) < 8 or prefix[6] not in (1, 2, 3):
        raise CodesError(
            "truncated" if MAGIC.startswith(prefix[:6]) else "damaged: not a .npy record"
        )
    wide = prefix[6] > 1
    count = stream.read(4 if wide else 2)
    if len(count) < (4 if wide else 2):
        raise CodesError("truncated")
    (length,) = struct.unpack("<I" if wide else "<H", count)
    if length > _LONGEST:
        raise CodesError("damaged: impossible .npy header")
    text = stream.read(length)
    if len(text) < length:
        raise CodesError("truncated")
    found = _parse(text)
    dtype, shape, fortran = found.get("descr"), found.get("shape"), found.get("fortran_order")
    if not isinstance(shape, tuple) or not isinstance(fortran, bool) or len(shape) > 8:
        raise CodesError("damaged: impossible .npy header")
    if any(not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= 1 << 53 for n in shape):
        raise CodesError("damaged: impossible .npy shape")
    return Record(_integers(dtype), shape, fortran, start + 8 + len(count) + length)


def array(stream: BinaryIO, where: Record) -> np.ndarray:
    """Read one record's integers, of a file that is known to hold them."""
    flat = _bytes.array(stream, where.start, np.dtype(where.dtype), math.prod(where.shape))
    return flat.reshape(where.shape, order="F" if where.fortran else "C")


def _parse(text: bytes) -> dict[object, object]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged text may look like deprecated syntax
            found = ast.literal_eval(text.decode("utf-8").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise CodesError("damaged: unreadable .npy header") from error
    if not isinstance(found, dict):
        raise CodesError("damaged: impossible .npy header")
    return found


def _integers(dtype: object) -> str:
    if isinstance(dtype, str) and _INTEGERS.fullmatch(dtype):
        return dtype
    name = dtype if isinstance(dtype, str) and dtype.isprintable() else "structured"
    if name.endswith("O"):
        raise CodesError("an array of Python objects; codes are integers")
    kinds = {"f": "floating-point", "c": "complex", "b": "boolean", "S": "text", "U": "text"}
    kind = next((kinds[letter] for letter in name.lstrip("<>|=")[:1] if letter in kinds), name)
    raise CodesError(f"an array of {kind} values; codes are integers")
