"""``.safetensors`` at the byte level: a tensor per level, our header in the metadata.

The layout is 8 bytes of length, that many bytes of JSON, then the tensors. The JSON is read here so
that a header costs one small read and a damaged one is told from a foreign one. Tensors go from and
to the file directly, since the library holds a file in memory once more beside its arrays; what is
written is what the library writes, byte for byte.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from vqtok.codes import _bytes
from vqtok.errors import CodesError

_LONGEST = 100_000_000  # the library's own limit for a header
_INTEGERS = {
    f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "UI" for size in (1, 2, 4, 8)
}

_MOST_AXES = 8


@dataclass(frozen=True)
class Table:
    """A file's table of contents.

    Attributes:
        tensors: Name → {"dtype", "shape", "data_offsets"}.
        start: Offset of the first tensor's data.
        size: Bytes of the file.
        vqtok: Our header's text; None in files of other programs.
    """

    tensors: Mapping[str, Mapping[str, Any]]
    start: int
    size: int
    vqtok: str | None


def write(stream: BinaryIO, arrays: Mapping[str, np.ndarray], header: str) -> None:
    """Write the arrays by name, and the header's text."""
    names = {dtype[1:]: name for name, dtype in _INTEGERS.items()}
    # The library's order, so that every tensor is aligned: large items first, then by name.
    ordered = sorted(arrays.items(), key=lambda each: (-each[1].dtype.itemsize, each[0]))
    table: dict[str, Any] = {"__metadata__": {"vqtok": header}}
    stop = 0
    for name, array in ordered:
        start, stop = stop, stop + array.nbytes
        kind = names[f"{array.dtype.kind}{array.dtype.itemsize}"]
        table[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, stop]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    _bytes.write(stream, memoryview(struct.pack("<Q", len(text)) + text))
    for _, array in ordered:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        _bytes.write(stream, _bytes.view(little))


def looks_like(head: bytes) -> bool:
    """True if a file's first bytes can only be those of a safetensors file, whole or not."""
    return len(head) >= 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= _LONGEST


def table(stream: BinaryIO, size: int) -> Table:
    """Read the table of contents.

    Raises:
        CodesError: truncated or damaged.
    """
    stream.seek(0)
    head = stream.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if len(head) < 8 or (length <= _LONGEST and 8 + length > size):
        raise CodesError("truncated")
    if length > _LONGEST:
        raise CodesError("damaged: impossible safetensors header")
    try:
        data = json.loads(stream.read(length))
    except (ValueError, RecursionError) as error:
        raise CodesError("damaged: unreadable safetensors header") from error
    if not isinstance(data, dict) or not all(isinstance(each, dict) for each in data.values()):
        raise CodesError("damaged: impossible safetensors header")
    text = data.pop("__metadata__", {}).get("vqtok")
    if text is not None and not isinstance(text, str):
        raise CodesError("damaged: impossible safetensors header")
    stop = 8 + length + max((_stop(each) for each in data.values()), default=0)
    if stop > size:
        raise CodesError(f"truncated: {size} bytes found, {stop} expected")
    return Table(data, 8 + length, size, text)


def arrays(stream: BinaryIO, found: Table) -> dict[str, np.ndarray]:
    """Read every tensor.

    Raises:
        CodesError: damaged, or not integers.
    """
    for name, entry in found.tensors.items():
        kind = str(entry.get("dtype"))
        if kind not in _INTEGERS:
            raise CodesError(f"tensor {name!r} holds {kind} values; codes are integers")
    _check_places(found)
    out = {}
    for name, entry in found.tensors.items():
        dtype, shape = np.dtype(_INTEGERS[entry["dtype"]]), entry["shape"]
        start = found.start + entry["data_offsets"][0]
        out[name] = _bytes.array(stream, start, dtype, math.prod(shape)).reshape(shape)
    return out


def _check_places(found: Table) -> None:
    """The tensors must fill the file, one after the other, each as long as its shape says."""
    at = 0
    for name, entry in sorted(found.tensors.items(), key=lambda each: each[1]["data_offsets"]):
        shape, (start, stop) = entry.get("shape"), entry["data_offsets"]
        if not isinstance(shape, list) or len(shape) > _MOST_AXES or not all(map(_is_size, shape)):
            raise CodesError(f"damaged: tensor {name!r} has an impossible shape")
        size = np.dtype(_INTEGERS[entry["dtype"]]).itemsize
        if start != at or stop - start != math.prod(shape) * size:
            raise CodesError(f"damaged: tensor {name!r} is not where it should be")
        at = stop
    if found.start + at != found.size:
        raise CodesError(f"damaged: {found.size} bytes found, {found.start + at} expected")


def _stop(entry: Mapping[str, Any]) -> int:
    offsets = entry.get("data_offsets")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise CodesError("damaged: impossible safetensors offsets")
    return int(offsets[1])


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1 << 53
