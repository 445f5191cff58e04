"""Strips and tiles → samples as the file has them, (H, W, samples)."""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image

from vqtok.media.image.tiff.layout import DEFLATE, FAX, PLAIN, Layout

_REVERSED = bytes(int(f"{each:08b}"[::-1], 2) for each in range(256))
_T4, _T6 = 292, 293
_PART_SAMPLES = 1 << 20


def read(stream: BinaryIO, layout: Layout) -> np.ndarray:
    """Read the samples of a page that are colour, and then alpha if there is one.

    Others are not kept: a page may promise tens of thousands of them.

    Raises:
        ValueError, zlib.error, OSError: damaged.
    """
    planes = layout.samples if layout.planar else 1
    deep = 1 if layout.planar else layout.samples
    rows, columns = layout.grid
    if len(layout.offsets) < planes * rows * columns:
        found, wanted = len(layout.offsets), planes * rows * columns
        raise ValueError(f"{found} of {wanted} segments are there")
    kept = [*range(layout.colours), *([] if layout.alpha is None else [layout.alpha])]
    # 64 bits are more than what comes of them.
    dtype = np.dtype(np.float32) if layout.bits == 64 else _dtype(layout)
    out = np.zeros((layout.height, layout.width, len(kept)), dtype)
    height, width = layout.tile
    for number in range(planes * rows * columns):
        plane, place = divmod(number, rows * columns)
        if layout.planar and plane not in kept:
            continue
        top, left = place // columns * height, place % columns * width
        lines = height if layout.is_tiled else min(height, layout.height - top)
        data = _bytes(stream, layout, number, lines, deep)
        if data is None:
            continue
        part = _samples(data, layout, lines, deep)
        part = part[: layout.height - top, : layout.width - left]
        into = out[top : top + height, left : left + width]
        if layout.planar:
            into[..., kept.index(plane)] = part[..., 0]
        else:
            into[...] = part[..., kept]
    return out


def _dtype(layout: Layout) -> np.dtype[np.generic]:
    size = 1 if layout.bits <= 8 else 2 if layout.bits <= 16 else layout.bits // 8
    return np.dtype(f"{layout.kind}{size}")


def _row_bytes(layout: Layout, deep: int) -> int:
    return math.ceil(layout.tile[1] * deep * layout.bits / 8)


def _bytes(
    stream: BinaryIO, layout: Layout, number: int, lines: int, deep: int
) -> bytes | np.ndarray | None:
    """Unpacked bytes of a segment; None: it is left out of the file, and black."""
    across, down = layout.subsampling
    if (across, down) == (1, 1):
        width, rows = _row_bytes(layout, deep), lines
    else:  # units of pixels that share their chroma
        width = math.ceil(layout.tile[1] / across) * (across * down + 2)
        rows = math.ceil(lines / down)
    wanted = width * rows
    offset = layout.offsets[number]
    size = layout.sizes[number] if number < len(layout.sizes) else wanted
    if offset == 0 and size == 0:
        return None
    stream.seek(offset)
    packed = stream.read(wanted if layout.compression == PLAIN else size)
    if layout.reversed and layout.compression not in FAX:
        packed = packed.translate(_REVERSED)
    if layout.compression == PLAIN:
        data: bytes | np.ndarray = packed
    elif layout.compression in DEFLATE:
        data = zlib.decompressobj().decompress(packed, wanted)
    elif layout.compression in FAX:
        data = _by_pillow(packed, layout, layout.tile[1], lines, bits=1)
    else:
        data = _by_pillow(packed, layout, width, rows, bits=8)
    if len(data) < wanted:
        raise ValueError(f"segment {number} holds {len(data)} of {wanted} bytes")
    return data


def _by_pillow(packed: bytes, layout: Layout, width: int, height: int, *, bits: int) -> bytes:
    """Have libtiff unpack bytes, as the one strip of a grey TIFF.

    So the bytes come out as they went in, whatever they mean. Fax codes whole rows of one bit.
    """
    page = layout.page
    entries = [(256, width), (257, height), (258, bits), (259, layout.compression), (262, 1)]
    entries += [(273, 0), (277, 1), (278, height), (279, len(packed))]
    if bits == 1:
        entries += [(266, 2)] if layout.reversed else []
        entries += [(tag, page.one(tag)) for tag in (_T4, _T6) if tag in page.tags]
    start = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(
        struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value)
        for tag, value in sorted(entries)
    )
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + bytes(4)
    with Image.open(io.BytesIO(head + packed), formats=("TIFF",)) as image:
        image.load()
        return image.tobytes()


def _samples(data: bytes | np.ndarray, layout: Layout, lines: int, deep: int) -> np.ndarray:
    """Bytes of a segment → (lines, width, deep)."""
    if layout.subsampling != (1, 1):
        return _spread(data, layout, lines)
    width, bits = layout.tile[1], layout.bits
    row = _row_bytes(layout, deep)
    plain = np.frombuffer(data, np.uint8, row * lines).reshape(lines, row)
    if bits % 8:
        return _unpacked(plain, bits, width * deep).reshape(lines, width, deep)
    dtype = _dtype(layout)
    if layout.predictor == 3:
        sums = np.add.accumulate(plain.reshape(lines, -1, deep), axis=1, dtype=np.uint8)
        # The most significant bytes of a row come first, whatever the order of the file.
        bytes_ = sums.reshape(lines, bits // 8, width * deep).transpose(0, 2, 1)
        whole = np.ascontiguousarray(bytes_).view(dtype.newbyteorder(">"))
        return whole.reshape(lines, width, deep)
    stored = plain.view(dtype.newbyteorder(layout.page.order)).reshape(lines, width, deep)
    if layout.predictor == 2:
        return np.add.accumulate(stored, axis=1, dtype=dtype)
    return stored


def _unpacked(rows: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Samples that do not fill bytes, the high bits first, each row from a byte of its own."""
    out = np.zeros((len(rows), count), np.uint8 if bits < 8 else np.uint16)
    step = max(1, _PART_SAMPLES // count)
    for start in range(0, len(rows), step):
        each = np.unpackbits(rows[start : start + step], axis=1, count=bits * count)
        each = each.reshape(-1, count, bits)
        for bit in range(bits):
            out[start : start + step] |= each[..., bit].astype(out.dtype) << (bits - 1 - bit)
    return out


def _spread(data: bytes | np.ndarray, layout: Layout, lines: int) -> np.ndarray:
    """Units of luma samples and two of chroma → (lines, width, 3)."""
    across, down = layout.subsampling
    wide, high = math.ceil(layout.tile[1] / across), math.ceil(lines / down)
    units = np.frombuffer(data, np.uint8, high * wide * (across * down + 2))
    units = units.reshape(high, wide, -1)
    blocks = units[..., :-2].reshape(high, wide, down, across).transpose(0, 2, 1, 3)
    luma = blocks.reshape(high * down, wide * across)
    chroma = units[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
    return np.concatenate([luma[..., None], chroma], axis=2)[:lines, : layout.tile[1]]
