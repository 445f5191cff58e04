"""Does a file hold all the audio that its header promises, and no more? libsndfile does not say.

It shortens a truncated WAV in silence, and gives no sample of a WAV whose header was never finished
(recorders and pipes leave 0 there). Nor does it look at what lies behind the samples.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import BinaryIO

from vqtok.errors import MediaError
from vqtok.media.audio import wav
from vqtok.media.audio.views import behind, bytes_at, size_of

_UNKNOWN = 0xFFFFFFFF
_GSM_BYTES, _GSM_SAMPLES = 33, 160
"""Of a frame of GSM 06.10."""

_W64_DATA = bytes.fromhex("f3acd3118cd100c04f8edb8a")
"""What follows the four letters of a chunk in its name."""


def complete(stream: BinaryIO, format: str, name: str) -> BinaryIO:
    """Check that a file is whole, as far as its container tells.

    Args:
        stream: Seekable.
        format: "WAV", "AIFF", "AU", "CAF" or "W64".
        name: The file, in messages.

    Returns:
        What libsndfile is to read: the stream, or a view of it with a repaired header.

    Raises:
        MediaError: the file is truncated, or samples may lie behind those that are declared.
    """
    check = {"WAV": _wav, "AIFF": _aiff, "AU": _au, "CAF": _caf, "W64": _w64}[format]
    return check(stream, size_of(stream), name)


def _wav(stream: BinaryIO, size: int, name: str) -> BinaryIO:
    if bytes_at(stream, 0, 4) == b"BW64":  # as RF64, with more in it (ITU-R BS.2088)
        stream = behind(stream, 4, head=b"RF64")
    stream.seek(0)
    header = wav.read_header(stream.read, lambda count: stream.seek(count, io.SEEK_CUR))
    if header is None:
        raise no_samples(name)
    found = size - header.start
    is_open = header.is_unfinished or (header.is_open and header.file_size < size)
    if not header.is_open:
        if header.size > found:
            is_plain = header.tag in (*wav.PLAIN_TAGS, wav.EXTENSIBLE)
            raise truncated(name, header.size, found, header.unit if is_plain else 0)
        stream.seek(header.start + header.size)
        padded = bool(header.size % 2)
        strange = strange_bytes(stream.read, order=header.order, padded=padded)
        is_open = header.size == 0 and strange > 8
        if not is_open:
            is_declared = abs(header.file_size - size) <= 1
            check_strange(strange, is_declared=is_declared, format="WAV", name=name)
    if is_open and found > header.size:
        head = wav.resized(bytes_at(stream, 0, header.start), found)
        return behind(stream, header.start, head=head)
    return stream


def _aiff(stream: BinaryIO, size: int, name: str) -> BinaryIO:
    (whole,) = struct.unpack(">I", bytes_at(stream, 0, 12)[4:8])
    unit, counted, codec = 0, 0, b""
    for key, declared, body in wav.chunks(
        stream.read,
        lambda count: stream.seek(count, io.SEEK_CUR),
        order=">",
        kept=(b"COMM",),
        last=b"SSND",
    ):
        if key == b"COMM" and len(body) >= 8:
            channels, counted, bits = struct.unpack(">HIH", body[:8])
            unit, codec = channels * -(-bits // 8), body[18:22]
        elif key == b"SSND":
            # The chunk starts with eight bytes of alignment, which it counts.
            start = stream.tell()
            wanted, found = max(0, declared - 8), max(0, size - start - 8)
            is_open = declared == 0 or wav.is_endless(wanted)
            if wanted > found and not is_open:
                raise truncated(name, wanted, found, unit)
            # The one encoding of which libsndfile believes the count.
            held = min(wanted, found) // _GSM_BYTES * _GSM_SAMPLES if codec == b"GSM " else 0
            if counted + _GSM_SAMPLES <= held:
                what = f"header says {counted} samples, file holds {held}"
                raise MediaError(name, what, hint="ffmpeg -i FILE -f wav - | vqtok encode -")
            if not is_open:
                stream.seek(start + declared)
                strange = strange_bytes(stream.read, order=">", padded=bool(declared % 2))
                is_declared = abs(whole + 8 - size) <= 1
                check_strange(strange, is_declared=is_declared, format="AIFF", name=name)
            return stream
    raise no_samples(name)


def _au(stream: BinaryIO, size: int, name: str) -> BinaryIO:
    """Samples of an AU go on to the end: nothing can lie behind them."""
    head = bytes_at(stream, 0, 24)
    if len(head) < 24:
        raise no_samples(name)
    order = ">" if head[:4] == b".snd" else "<"
    start, declared = struct.unpack(order + "4xII12x", head)
    if declared not in (0, _UNKNOWN) and start + declared > size:
        raise truncated(name, declared, size - start, 0)
    unknown = head[:8] + struct.pack(order + "I", _UNKNOWN)
    return behind(stream, len(unknown), head=unknown)


def _caf(stream: BinaryIO, size: int, name: str) -> BinaryIO:
    offset, has_samples = 8, False
    while len(head := bytes_at(stream, offset, 12)) == 12:
        key, declared = struct.unpack(">4sq", head)
        start = offset + 12
        if key == b"data" and declared < 0:  # to the end, which libsndfile refuses
            known = bytes_at(stream, 0, offset) + struct.pack(">4sq", key, size - start)
            return behind(stream, start, head=known)
        if has_samples and not (key.isalpha() and 0 <= declared <= size - start):
            break
        if declared < 0 or start + declared > size:
            raise truncated(name, max(0, declared), size - start, 0)
        has_samples = has_samples or key == b"data"
        offset = start + declared
    if any(bytes_at(stream, offset, size - offset)):
        check_strange(size - offset, is_declared=True, format="CAF", name=name)
    return stream


def _w64(stream: BinaryIO, size: int, name: str) -> BinaryIO:
    offset, has_samples = 40, False
    while len(head := bytes_at(stream, offset, 24)) == 24:
        key, declared = head[:4], int.from_bytes(head[16:], "little")
        is_chunk = head[4:16] == (_W64_DATA if key in (b"data", b"fmt ", b"fact") else head[4:16])
        if key == b"data" and declared in (0, 24, (1 << 64) - 1):
            return stream  # libsndfile goes on to the end
        if key == b"data" and offset + declared > size:
            raise truncated(name, declared - 24, size - offset - 24, 0)
        if declared < 24 or not is_chunk or offset + declared > size:
            check_strange(size - offset, is_declared=True, format="W64", name=name)
            break
        has_samples = has_samples or key == b"data"
        offset += declared + -declared % 8
    if not has_samples:
        raise no_samples(name)
    return stream


def truncated(name: str, declared: int, found: int, unit: int) -> MediaError:
    """Makes the error of a file that is too short; ``unit`` bytes a sample, 0 if unknown."""
    what, unit = ("samples", unit) if unit else ("bytes of audio", 1)
    return MediaError(
        name, f"truncated: header says {declared // unit} {what}, file holds {found // unit}"
    )


def no_samples(name: str) -> MediaError:
    """Returns the error of a file that is cut within its header."""
    return MediaError(name, "truncated: the file ends before any sample")


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


def check_strange(strange: int, *, is_declared: bool, format: str, name: str) -> None:
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
