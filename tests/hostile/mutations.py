"""Damage to files, by seed: the same bytes and seed always give the same damage and its name.

Blind changes (cuts, bits, runs, splices, numbers) reach every parser's first checks. To get behind
checksums and length fields there are three that know formats: chunks of a PNG are sealed again,
pages of an Ogg too, and the JSON in codes files and models is changed value by value.
"""

from __future__ import annotations

import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from vqtok.media.audio.ogg import checksum

Random = random.Random


class Mutant(NamedTuple):
    """Damaged bytes and what was done to them."""

    data: bytes
    how: str


NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 1 << 24, 0x7FFFFFFE,
           0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63,
           (1 << 64) - 1)  # fmt: skip
"""Where length fields and their products overflow."""

FLOATS = (float("nan"), float("inf"), float("-inf"), 3.4e38, -3.4e38, 1e-45, -0.0)

SCALARS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 255, 65535, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31,
    (1 << 32) - 1, 1 << 32, 1 << 53, (1 << 53) + 1, 1 << 63, 1 << 64, 10**400, -(1 << 63), 0.5,
    -0.0, 1e308, float("nan"), float("inf"), float("-inf"), "", "x", "../../outside", "/outside",
    "a/b", "..", "\0", "\n", "\x1b[2J", "é" * 300, "x" * 5000, "quantizers/fsq", "os/system",
    "U8", "F32", "BOOL", [], [0], [-1], [1 << 62, 1 << 62], [0, 1 << 63], [1, 0], [[]], {}, {"": 0},
)  # fmt: skip
"""What a value of a header is replaced by."""

_MARKS = (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"eXIf", b"acTL", b"IEND", b"data",
          b"fmt ", b"fact", b"ds64", b"LIST", b"COMM", b"SSND", b"fLaC", b"OggS", b"OpusHead",
          b"vorbis", b"Xing", b"Info", b"Exif", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANMF",
          b"ICCP", b"\xff\xc0", b"\xff\xc4", b"\xff\xda", b"\xff\xdb", b"\x21\xf9", b"NUMPY",
          b"descr", b"shape", b"data_offsets", b"__metadata__")  # fmt: skip


def mutate(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    """Damage one file in one to three ways.

    Args:
        data: A sound file.
        rng: Every choice is drawn from it.
        donors: Other files to splice with.
    """
    steps = []
    if data.startswith(b"\x89PNG") and rng.random() < 0.25:
        return _inside_png(data, rng, donors)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        operation = rng.choice(OPERATIONS)
        data, how = operation(data, rng, donors)
        steps.append(how)
        if not data:
            break
    if rng.random() < 0.6:
        if data.startswith(b"\x89PNG"):
            data = seal_png(data)
            steps.append("sealed")
        elif data.startswith(b"OggS"):
            data = seal_ogg(data)
            steps.append("sealed")
        elif data.startswith(b"fLaC"):
            data = seal_flac(data)
            steps.append("sealed")
    return Mutant(data, ", ".join(steps))


def interesting(data: bytes) -> list[int]:
    """Offsets where something starts or ends: the head, the tail, chunk marks and their fields."""
    places = {0, 1, 4, 8, 9, 12, 16, len(data) // 2, len(data) - 1, len(data) - 4, len(data) - 8}
    for mark in _MARKS:
        for found in re.finditer(re.escape(mark), data):
            at = found.start()
            places |= {at - 4, at, at + len(mark), at + len(mark) + 4, at + len(mark) + 8}
    return sorted(place for place in places if 0 <= place < len(data))


def _place(data: bytes, rng: Random) -> int:
    """Somewhere: near a mark, in the head, or anywhere."""
    kind = rng.random()
    if kind < 0.5:
        near = rng.choice(interesting(data)) + rng.randrange(-2, 12)
        return min(max(0, near), len(data) - 1)
    return rng.randrange(min(len(data), 128) if kind < 0.75 else len(data))


def _cut(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    end = _place(data, rng)
    return Mutant(data[:end], f"cut at {end}")


def _flip(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    out, places = bytearray(data), []
    for _ in range(rng.randrange(1, 9)):
        at = _place(data, rng)
        out[at] ^= 1 << rng.randrange(8)
        places.append(at)
    return Mutant(bytes(out), f"bits at {places}")


def _run(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    at, size = _place(data, rng), rng.choice((1, 2, 4, 8, 16, 64, 256))
    filling = rng.choice(("zero", "ones", "noise"))
    run = {"zero": bytes(size), "ones": b"\xff" * size, "noise": rng.randbytes(size)}[filling]
    return Mutant(data[:at] + run + data[at + size :], f"{size} bytes of {filling} at {at}")


def _number(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    at, size = _place(data, rng), rng.choice((2, 4, 4, 8))
    order = rng.choice(("little", "big"))
    number = rng.choice(NUMBERS) % (1 << 8 * size)
    field = number.to_bytes(size, order)
    return Mutant(data[:at] + field + data[at + size :], f"{number:#x} {order} {size} B at {at}")


def _float(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    at, form = _place(data, rng), rng.choice(("<f", ">f", "<d", ">d"))
    number = rng.choice(FLOATS)
    if form[1] == "f" and abs(number) > 3.4e38 and number == number and abs(number) < 1e39:
        number = 0.0
    field = struct.pack(form, number)
    return Mutant(data[:at] + field + data[at + len(field) :], f"{number} {form} at {at}")


def _repeat(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    start = _place(data, rng)
    stop = min(len(data), start + rng.choice((1, 4, 12, 64, 500)))
    times = rng.choice((1, 2, 50))
    out = data[:stop] + data[start:stop] * times + data[stop:]
    return Mutant(out, f"{start}:{stop} repeated {times} times")


def _drop(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    start = _place(data, rng)
    stop = start + rng.choice((1, 2, 4, 8, 12, 64, 500))
    return Mutant(data[:start] + data[stop:], f"{start}:{stop} dropped")


def _splice(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    index = rng.randrange(len(donors))
    donor = donors[index]
    head, tail = _place(data, rng), _place(donor, rng)
    return Mutant(data[:head] + donor[tail:], f":{head} spliced with {tail}: of seed {index}")


def _swap(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    a, b, c = sorted(_place(data, rng) for _ in range(3))
    return Mutant(data[:a] + data[b:c] + data[a:b] + data[c:], f"{a}:{b} and {b}:{c} swapped")


def _grow(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    size = rng.choice((1, 3, 100, 5000))
    return Mutant(data + rng.randbytes(size), f"{size} bytes appended")


OPERATIONS: tuple[Callable[[bytes, Random, Sequence[bytes]], Mutant], ...] = (
    _cut, _flip, _flip, _run, _number, _number, _float, _repeat, _drop, _splice, _swap, _grow,
)  # fmt: skip


def seal_png(data: bytes) -> bytes:
    """Compute the checksum of every chunk anew, as far as chunks can be followed."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        size = struct.unpack_from(">I", out, at)[0]
        end = at + 8 + size
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)


def seal_ogg(data: bytes) -> bytes:
    """Compute the checksum of every page anew."""
    out = bytearray(data)
    starts = [found.start() for found in re.finditer(b"OggS", data)]
    for start, stop in zip(starts, [*starts[1:], len(out)], strict=True):
        if stop - start >= 27:
            out[start + 22 : start + 26] = bytes(4)
            struct.pack_into("<I", out, start + 22, checksum(bytes(out[start:stop])))
    return bytes(out)


def seal_flac(data: bytes) -> bytes:
    """Compute the checksum of the one frame anew; its header has one more, which is left."""
    at, last = 4, False
    while not last and at + 4 <= len(data):
        last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    if at + 2 >= len(data):
        return data
    value = 0
    for byte in data[at:-2]:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x8005 if value & 0x8000 else 0)) & 0xFFFF
    return data[:-2] + struct.pack(">H", value)


def _inside_png(data: bytes, rng: Random, donors: Sequence[bytes]) -> Mutant:
    """Damage the rows behind the compression."""
    at = data.index(b"IDAT")
    size = struct.unpack_from(">I", data, at - 4)[0]
    rows = zlib.decompress(data[at + 4 : at + 4 + size])
    changed, how = rng.choice((_cut, _flip, _run, _repeat, _drop))(rows, rng, donors)
    packed = zlib.compress(changed)
    head = data[: at - 4] + struct.pack(">I", len(packed)) + b"IDAT" + packed
    return Mutant(seal_png(head + data[at + 4 + size :]), f"rows: {how}")


def mutate_json(text: str, rng: Random) -> tuple[str, str]:
    """Change one to three values of a JSON text; the result may be no JSON any more.

    Returns:
        The text, and what was done.
    """
    kind = rng.random()
    if kind < 0.06:
        depth = rng.choice((100, 2000, 100_000))
        return rng.choice(("[", '{"a":')) * depth, f"nested {depth} deep"
    if kind < 0.12:
        numbers = re.sub(r"\d+", lambda found: found.group() + "9" * 5000, text, count=1)
        return numbers, "a number of 5000 digits"
    data, steps = json.loads(text), []
    for _ in range(rng.choice((1, 1, 2, 3))):
        holders = list(_holders(data))
        if not holders:
            break
        where, holder, key = rng.choice(holders)
        change = rng.random()
        if change < 0.15:
            del holder[key]
            steps.append(f"{where} removed")
        elif change < 0.25 and isinstance(holder, dict):
            holder[rng.choice(("extra", "", "../up", "__class__", "type"))] = deepcopy(holder[key])
            steps.append(f"{where} copied under another key")
        else:
            holder[key] = deepcopy(rng.choice(SCALARS))
            steps.append(f"{where} = {str(holder[key])[:40]}")
    out = json.dumps(data)
    if kind < 0.2 and out.startswith("{") and len(out) > 2:
        out = out[:-1] + ", " + text.strip()[1:]  # every key twice
        steps.append("keys twice")
    return out, ", ".join(steps)


def _holders(data: Any, where: str = "$") -> list[tuple[str, Any, Any]]:
    """Every (place, container, key) below a JSON value."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(data, dict):
        pairs = list(data.items())
    elif isinstance(data, list):
        pairs = list(enumerate(data))
    found = []
    for key, value in pairs:
        found.append((f"{where}.{key}", data, key))
        found += _holders(value, f"{where}.{key}")
    return found
