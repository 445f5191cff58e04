"""PNGs of every colour type and depth: exact samples, and transparency at the file's own depth."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vqtok.errors import MediaError
from vqtok.media import image
from vqtok.media.image.pillow import with_key_in_bytes

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [(0, bits) for bits in (1, 2, 4, 8, 16)]
KINDS += [(3, bits) for bits in (1, 2, 4, 8)]
KINDS += [(kind, bits) for kind in (2, 4, 6) for bits in (8, 16)]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(samples: np.ndarray, bits: int) -> bytes:
    """Rows of (H, W, C), each behind its filter type, which is none."""
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    elif bits == 8:
        rows = [row.astype(np.uint8).tobytes() for row in samples]
    else:
        high_first = (
            samples[..., None].astype(np.uint8) >> np.arange(bits, dtype=np.uint8)[::-1] & 1
        )
        rows = [np.packbits(row.ravel()).tobytes() for row in high_first]
    return b"".join(b"\0" + row for row in rows)


def png(
    samples: np.ndarray,
    kind: int,
    bits: int,
    *,
    palette: np.ndarray | None = None,
    key: tuple[int, ...] | None = None,
    alphas: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A PNG of (H, W, C) samples, or indices, as the specification has it, without any library."""
    height, width = samples.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, int(interlaced))
    chunks = [chunk(b"IHDR", head)]
    if palette is not None:
        chunks.append(chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
    if key is not None:
        chunks.append(chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))
    if alphas:
        chunks.append(chunk(b"tRNS", alphas))
    data = packed(samples, bits)
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
        passes += [(0, 1, 2, 2), (1, 0, 2, 1)]
        parts = [samples[top::down, left::across] for top, left, down, across in passes]
        data = b"".join(packed(part, bits) for part in parts if part.size)
    chunks += [chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def over(colours: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    made = colours * alpha + background * (1 - alpha)
    return np.broadcast_to(made, (*made.shape[:2], 3))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_a_png_has_its_own_samples_and_its_own_transparent_colour(
    kind: int, bits: int, transparent: bool, interlaced: bool
) -> None:
    numbers = np.random.default_rng(bits + 100 * kind)
    height, width, count = 13, 21, CHANNELS[kind]
    samples = numbers.integers(0, 1 << bits, (height, width, count))
    key, palette, alphas = None, None, b""
    colours, alpha = samples / ((1 << bits) - 1), np.ones((height, width, 1))
    if kind == 3:
        palette = numbers.integers(0, 256, (1 << bits, 3))
        colours = palette[samples[..., 0]] / 255
        if transparent:
            alphas = numbers.integers(0, 256, 1 << bits, dtype=np.uint8).tobytes()
            alpha = np.frombuffer(alphas, np.uint8)[samples] / 255
    elif kind in (4, 6):
        colours, alpha = colours[..., :-1], colours[..., -1:]
    elif transparent:
        key = tuple(int(each) for each in samples[3, 4])
        samples[5, 6:9] = samples[3, 4]
        if bits == 16:  # differs in what 8 bits would not show
            samples[5, 6] = samples[3, 4] ^ 1
        colours = samples / ((1 << bits) - 1)
        alpha = (samples != samples[3, 4]).any(axis=2)[..., None].astype(float)
    data = png(samples, kind, bits, palette=palette, key=key, alphas=alphas, interlaced=interlaced)
    pixels, info = image.read(io.BytesIO(data), background="#ff8000")
    expected = over(colours, alpha, np.array([1, 128 / 255, 0]))
    np.testing.assert_allclose((pixels.transpose(1, 2, 0) + 1) / 2, expected, atol=1e-6)
    assert info.bits == bits
    assert info.has_alpha == (kind in (4, 6) or transparent)


def test_bits_above_the_depth_of_a_transparent_colour_do_not_count() -> None:
    samples = np.array([[[0], [1], [2], [3]]])
    pixels, _ = image.read(io.BytesIO(png(samples, 0, 2, key=(0xFF00 | 2,))), background="red")
    assert (image.to_uint8(pixels)[:, 0, 2] == [255, 0, 0]).all()
    assert image.to_uint8(pixels)[0, 0].tolist() == [0, 85, 255, 255]


def test_grey_with_alpha_of_sixteen_bits_stays_grey() -> None:
    samples = np.full((2, 3, 2), 65535)
    _, info = image.read(io.BytesIO(png(samples, 4, 16)))
    assert image.is_grey(info)
    assert info.left_out == (
        "16 bits per sample come back as 8",
        "transparency is laid over the background",
    )


@pytest.mark.parametrize("turn", range(1, 9))
def test_deep_pictures_are_turned_like_others(turn: int) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (5, 7, 3))
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, turn, 0, 0)
    plain, deep = (png(samples * scale, 2, bits) for scale, bits in ((1, 8), (257, 16)))
    at = 8 + 25
    both = (data[:at] + chunk(b"eXIf", exif) + data[at:] for data in (plain, deep))
    expected, found = (image.read(io.BytesIO(data))[0] for data in both)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_deep_png_that_is_cut_is_damaged() -> None:
    chance = random.Random(0)
    data = png(np.random.default_rng(0).integers(0, 65536, (30, 30, 3)), 2, 16)
    for _ in range(20):
        cut = data[: chance.randrange(60, len(data) - 60)]
        with pytest.raises(MediaError, match="truncated or damaged PNG"):
            image.read(io.BytesIO(cut))


@pytest.mark.parametrize(
    ("kind", "bits", "key"), [(0, 1, 1), (0, 2, 2), (0, 4, 9), (0, 8, 77), (2, 8, 9), (2, 16, 9000)]
)
def test_a_transparent_colour_of_a_users_image_is_that_of_the_file(
    kind: int, bits: int, key: int
) -> None:
    samples = np.random.default_rng(1).integers(0, 1 << bits, (4, 5, CHANNELS[kind]))
    samples[1, 2] = key
    data = png(samples, kind, bits, key=(key,) * CHANNELS[kind])
    with Image.open(io.BytesIO(data)) as opened:
        given = with_key_in_bytes(opened)
    found = np.asarray(given.convert("RGBA"))[..., 3] == 0
    np.testing.assert_array_equal(found, (samples == key).all(axis=2))


def shortened(data: bytes, by: int) -> bytes:
    """The PNG, whose stream of pixels ends as it should, ``by`` bytes before all are there."""
    at = data.index(b"IDAT") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    rows = zlib.decompress(data[at + 8 : at + 8 + length])
    return data[:at] + chunk(b"IDAT", zlib.compress(rows[: len(rows) - by])) + data[-12:]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_rows_that_are_missing_are_not_read_as_black(
    kind: int, bits: int, interlaced: bool
) -> None:
    palette = np.zeros((1 << bits, 3)) if kind == 3 else None
    for seed, most in ((0, 1 << bits), (1, 1)):  # noise, and a picture that is black
        samples = np.random.default_rng(seed).integers(0, most, (9, 13, CHANNELS[kind]))
        whole = png(samples, kind, bits, palette=palette, interlaced=interlaced)
        image.read(io.BytesIO(shortened(whole, 0)))
        row = 1 + (13 * bits * CHANNELS[kind] + 7) // 8
        with pytest.raises(MediaError, match="bytes of pixels"):
            image.read(io.BytesIO(shortened(whole, row)))


def test_around_a_frame_that_fills_a_part_of_its_gif_the_background_shows() -> None:
    picture = Image.new("P", (6, 4), 1)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    stream = io.BytesIO()
    picture.save(stream, "GIF")
    data = bytearray(stream.getvalue())
    data[6:10] = struct.pack("<HH", 10, 7)  # the canvas grows, the frame stays
    found, info = image.read(io.BytesIO(bytes(data)), background="#0000ff")
    assert (info.width, info.height) == (10, 7)
    red, blue = (1, -1, -1), (-1, -1, 1)
    expected = np.broadcast_to(np.reshape(blue, (3, 1, 1)), (3, 7, 10)).copy()
    expected[:, :4, :6] = np.reshape(red, (3, 1, 1))
    np.testing.assert_array_equal(found, expected)
