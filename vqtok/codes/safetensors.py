"""``.safetensors`` at the byte level: the one reader of its table of contents, and codes in it.

The layout is 8 bytes of length, that many bytes of JSON, then the tensors; codes are a tensor per
level, and their header lies in the metadata. The JSON is read here, so that a header costs one
small read, and damage is no other program's file. Tensors go from and to the file directly, since
the library holds a file in memory once more beside its arrays; what is written is what the library
writes, byte for byte.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeGuard

import numpy as np

from vqtok.codes import _bytes
from vqtok.errors import CodesError

_LONGEST = 100_000_000  # the library's own limit for a header
_LARGEST = 1 << 53
_MOST_AXES = 8
_INTEGERS = {
    f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "UI" for size in (1, 2, 4, 8)
}


@dataclass(frozen=True)
class Table:
    """Holds a file's table of contents.

    Attributes:
        tensors: Name → {"dtype", "shape", "data_offsets"}; offsets are checked, the rest is not.
        start: Offset of the first tensor's data.
        size: Bytes of the file.
        vqtok: Our header's text; None in files of other programs.
    """

    tensors: Mapping[str, Mapping[str, Any]]
    start: int
    size: int
    vqtok: str | None

    @property
    def stop(self) -> int:
        """Return the offset after the last tensor's data."""
        ends = (entry["data_offsets"][1] for entry in self.tensors.values())
        return self.start + max(ends, default=0)

    def numbers(self) -> int:
        """Count the numbers in all tensors.

        Raises:
            CodesError: a file that is longer than its tensors, or impossible shapes.
        """
        if self.stop != self.size:
            raise CodesError(f"truncated: {self.size} bytes found, {self.stop} expected")
        count = sum(math.prod(_shape(name, entry)) for name, entry in self.tensors.items())
        if count > _LARGEST:
            raise CodesError("unreadable header: more numbers than there can be")
        return count


def head(entries: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return what a file begins with, its table of contents padded so that tensors are aligned."""
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write(stream: BinaryIO, arrays: Mapping[str, np.ndarray], header: str) -> None:
    """Write the arrays by name, and the header's text."""
    names = {dtype[1:]: name for name, dtype in _INTEGERS.items()}
    # The library's order, so that every tensor is aligned: large items first, then by name.
    ordered = sorted(arrays.items(), key=lambda each: (-each[1].dtype.itemsize, each[0]))
    entries: dict[str, Any] = {"__metadata__": {"vqtok": header}}
    stop = 0
    for name, array in ordered:
        start, stop = stop, stop + array.nbytes
        kind = names[f"{array.dtype.kind}{array.dtype.itemsize}"]
        entries[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, stop]}
    _bytes.write(stream, memoryview(head(entries)))
    for _, array in ordered:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        _bytes.write(stream, _bytes.view(little))


def looks_like(start: bytes) -> bool:
    """Tell whether a file's first bytes can only be those of a safetensors file, whole or not."""
    if len(start) < 9 or start[8:9] != b"{":
        return False
    return int.from_bytes(start[:8], "little") <= _LONGEST


def table(stream: BinaryIO, size: int) -> Table:
    """Read the table of contents of a file of ``size`` bytes.

    Raises:
        CodesError: truncated or damaged.
    """
    stream.seek(0)
    start = stream.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or (length <= _LONGEST and 8 + length > size):
        raise CodesError("truncated")
    try:
        data = json.loads(stream.read(length)) if length <= _LONGEST else None
    except (ValueError, RecursionError) as error:
        raise CodesError("unreadable header: not JSON") from error
    if not isinstance(data, dict) or not all(isinstance(each, dict) for each in data.values()):
        raise CodesError("unreadable header")
    text = data.pop("__metadata__", {}).get("vqtok")
    offsets = [entry.get("data_offsets") for entry in data.values()]
    if not all(_are_sizes(pair) and len(pair) == 2 for pair in offsets):
        raise CodesError("unreadable header: impossible offsets")
    if text is not None and not isinstance(text, str):
        raise CodesError("unreadable header")
    found = Table(data, 8 + length, size, text)
    if found.stop > size:
        raise CodesError(f"truncated: {size} bytes found, {found.stop} expected")
    return found


def arrays(stream: BinaryIO, found: Table) -> dict[str, np.ndarray]:
    """Read every tensor.

    Raises:
        CodesError: damaged, or not integers.
    """
    for name, entry in found.tensors.items():
        kind = str(entry.get("dtype"))
        if kind not in _INTEGERS:
            raise CodesError(f"tensor {name!r} holds {kind} values; codes are integers")
    _check_positions(found)
    out = {}
    for name, entry in found.tensors.items():
        dtype, shape = np.dtype(_INTEGERS[entry["dtype"]]), entry["shape"]
        start = found.start + entry["data_offsets"][0]
        out[name] = _bytes.array(stream, start, dtype, math.prod(shape)).reshape(shape)
    return out


def _check_positions(found: Table) -> None:
    """Refuse tensors that do not fill the file, one after the other, each as long as its shape."""
    at = 0
    for name, entry in sorted(found.tensors.items(), key=lambda each: each[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        size = math.prod(_shape(name, entry)) * np.dtype(_INTEGERS[entry["dtype"]]).itemsize
        if start != at or stop - start != size:
            raise CodesError(f"damaged: tensor {name!r} is not where it should be")
        at = stop
    if found.start + at != found.size:
        raise CodesError(f"damaged: {found.size} bytes found, {found.start + at} expected")


def _shape(name: str, entry: Mapping[str, Any]) -> list[int]:
    shape = entry.get("shape")
    if not _are_sizes(shape) or len(shape) > _MOST_AXES:
        raise CodesError(f"unreadable header: tensor {name!r} has an impossible shape")
    return shape


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    if not isinstance(value, list):
        return False
    return all(type(each) is int and 0 <= each <= _LARGEST for each in value)
