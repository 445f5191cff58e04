"""What lies behind the samples of a chunked file: more chunks, tags, padding; or samples after all.

A size that is too small leaves samples there, which no player plays and no reader tells of.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from vqtok.errors import MediaError

_MOST_JUNK = 4096
"""Bytes that may be anything, if the header does not count them as its own."""

_PIECE = 1 << 16
_ID3V1_BYTES = 128
# These begin samples, or another file.
_NOT_BEHIND = (b"data", b"SSND", b"RIFF", b"RIFX", b"RF64", b"FORM")


def strange_bytes(read: Callable[[int], bytes], *, order: str, padded: bool) -> int:
    """Count what is neither a chunk, nor a tag, nor zeros.

    Args:
        read: Gives so many of the next bytes, fewer at the end; from behind the last sample on.
        order: "<" or ">".
        padded: A byte of padding should come first; not all programs write it.
    """
    while True:
        held = read(1).strip(b"\0") if padded else b""
        head = held + read(8 - len(held))
        padded = False
        if len(head) < 8:
            return len(head.strip(b"\0"))
        key, size = struct.unpack(order + "4sI", head)
        if not any(head):
            continue
        if head[:3] == b"TAG":
            _pass(read, _ID3V1_BYTES - 8)
            continue
        is_chunk = all(0x20 <= byte < 0x7F for byte in key) and key not in _NOT_BEHIND
        passed = _pass(read, size if is_chunk else -1)
        if not is_chunk or passed < size:
            return 8 + passed
        padded = bool(size % 2)


def check(strange: int, *, is_declared: bool, format: str, name: str) -> None:
    """Refuse a file whose header may tell of fewer samples than there are.

    Args:
        strange: From ``strange_bytes``.
        is_declared: The header counts them as part of the file.
        format: Of the file.
        name: Of the file.

    Raises:
        MediaError: too many are strange.
    """
    if strange > (8 if is_declared else _MOST_JUNK):
        raise MediaError(
            name,
            f"{strange} bytes behind the declared samples are neither chunks of {format} nor tags",
            hint="ffmpeg -i FILE -f wav - | vqtok encode - takes what is declared, "
            "with -ignore_length 1 before -i all of a WAV",
        )


def _pass(read: Callable[[int], bytes], size: int) -> int:
    """Read over so many bytes, all if negative; returns how many there were."""
    done = 0
    while size < 0 or done < size:
        data = read(_PIECE if size < 0 else min(_PIECE, size - done))
        if not data:
            break
        done += len(data)
    return done
