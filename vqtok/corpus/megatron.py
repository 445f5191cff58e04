"""Megatron's index of a file of tokens, version 1: where each sequence lies, and each document."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_MAGIC = b"MMIDIDX\x00\x00"
_TYPES = {"int32": 4, "uint16": 8}
"""Megatron's numbers for types."""


def write_index(out: Any, dtype: str, lengths: np.ndarray, documents: np.ndarray) -> None:
    """Write an index.

    Args:
        out: Takes bytes.
        dtype: Of the tokens: "int32" or "uint16".
        lengths: (n,) tokens of each sequence.
        documents: (m,) sequences of each document; they add up to n.
    """
    lengths = np.asarray(lengths, "<i4")
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    head = struct.pack("<QBQQ", 1, _TYPES[dtype], len(lengths), len(documents) + 1)
    out.write(_MAGIC + head)
    out.write(lengths.tobytes())
    out.write((starts * np.dtype(dtype).itemsize).astype("<i8").tobytes())
    out.write(np.concatenate([[0], np.cumsum(documents)]).astype("<i8").tobytes())
