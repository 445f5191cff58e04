"""What goes along with an item's codes: its caption, its class, its JSON, each as the bytes it had.

A *label* is the folder in an item's name; tables have a column for it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from vqtok.corpus import items
from vqtok.errors import CodesError

KINDS = ("cls", "json", "txt")
"""Files beside an item that are carried: those suffixes of WebDataset."""

LABEL = "label"

LARGEST = 1 << 24
"""Bytes of one carried file: a caption is far smaller, and whole groups are held in memory."""

_LENGTH = struct.Struct("<I")


def label_of(name: str) -> str:
    """Return the folder of an item's name; "" if it has none."""
    return name.rpartition("/")[0]


def pack(carried: Mapping[str, bytes], codes: bytes) -> bytes:
    """Join what is carried and a codes file into one record of a spool."""
    sizes = items.dump({kind: len(data) for kind, data in carried.items()}).encode()
    return b"".join(
        [_LENGTH.pack(len(sizes)), sizes, *(carried[k] for k in sorted(carried)), codes]
    )


def unpack(payload: bytes) -> tuple[dict[str, bytes], bytes]:
    """Invert ``pack``.

    Raises:
        CodesError: damaged.
    """
    try:
        (length,) = _LENGTH.unpack_from(payload)
        start = _LENGTH.size + length
        found: dict[str, bytes] = {}
        for kind, size in sorted(items.load(payload[_LENGTH.size : start]).items()):
            found[kind] = payload[start : start + size]
            start += size
    except (struct.error, TypeError) as error:
        raise CodesError("damaged spool: run the command again") from error
    return found, payload[start:]


def text(kind: str, data: bytes) -> str:
    """Decode what a column of text is to hold.

    Raises:
        CodesError: it is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CodesError(
            f"its {kind} is not UTF-8, which a column of text needs", hint="--format tar holds it"
        ) from error
