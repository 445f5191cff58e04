"""``.safetensors`` at the byte level: a tensor per level, our header in the metadata.

The layout is 8 bytes of length, that many bytes of JSON, then the tensors. The JSON is read here so
that a header costs one small read and a damaged one is told from a foreign one; the library then
checks the whole and makes the arrays.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from vqtok.errors import CodesError

_LONGEST = 100_000_000  # the library's own limit for a header
_INTEGERS = ("U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64")


@dataclass(frozen=True)
class Table:
    """A file's table of contents.

    Attributes:
        tensors: Name → {"dtype", "shape", "data_offsets"}.
        vqtok: Our header's text; None in files of other programs.
    """

    tensors: Mapping[str, Mapping[str, Any]]
    vqtok: str | None


def write(stream: BinaryIO, arrays: Mapping[str, np.ndarray], header: str) -> None:
    """Write the arrays by name, and the header's text."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    stream.write(save(whole, metadata={"vqtok": header}))


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
    return Table(data, text)


def arrays(stream: BinaryIO, found: Table) -> dict[str, np.ndarray]:
    """Read every tensor.

    Raises:
        CodesError: damaged, or not integers.
    """
    for name, entry in found.tensors.items():
        kind = str(entry.get("dtype"))
        if kind not in _INTEGERS:
            raise CodesError(f"tensor {name!r} holds {kind} values; codes are integers")
    stream.seek(0)
    try:
        return load(stream.read())
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CodesError(f"damaged: {error}") from error


def _stop(entry: Mapping[str, Any]) -> int:
    offsets = entry.get("data_offsets")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(isinstance(each, int) and 0 <= each <= 1 << 53 for each in offsets)
    ):
        raise CodesError("damaged: impossible safetensors offsets")
    return int(offsets[1])
