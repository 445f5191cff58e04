"""TIFFs mean what their tags say: what another reader finds, or a refusal that names the tag."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from vqtok.errors import MediaError
from vqtok.media import image

FILES, TOGETHER = 240, 20
PHOTOMETRIC = {"white": "miniswhite", "black": "minisblack", "cmyk": "separated"}
COMPRESSIONS = (None, None, "lzw", "zlib", "packbits", "lzma", "zstd", "deflate")
DEPTHS = (
    *(("u1", 1), ("u1", 2), ("u1", 4), ("u1", 8), ("u1", 8), ("u2", 10), ("u2", 12)),
    *(("u2", 14), ("u2", 16), ("u2", 16), ("f2", 16), ("f4", 32), ("f8", 64)),
)


def written(samples: np.ndarray, **options: Any) -> bytes:
    """A TIFF of (H, W) or (H, W, samples); with planarconfig "separate" of (samples, H, W)."""
    stream = io.BytesIO()
    file = {key: options.pop(key) for key in ("byteorder", "bigtiff") if key in options}
    with tifffile.TiffWriter(stream, **file) as writer:
        writer.write(samples, metadata=None, **options)
    return stream.getvalue()


def drawn(chance: random.Random) -> tuple[bytes, dict[str, Any]]:
    """A TIFF of any layout, and what was chosen for it."""
    numbers = np.random.default_rng(chance.randrange(1 << 30))
    height, width = chance.randrange(1, 40), chance.randrange(1, 40)
    kind = chance.choice(["white", "black", "black", "rgb", "rgb", "palette", "cmyk"])
    if kind == "palette":
        dtype, bits = "u1", 8
    else:
        dtype, bits = chance.choice(DEPTHS)
    packed = bits not in (8, 16, 32, 64)
    colours = {"rgb": 3, "cmyk": 4}.get(kind, 1)
    extra = chance.choice([None, None, "unassalpha", "assocalpha", "unspecified"])
    if kind == "palette" or (kind not in ("black", "rgb") and extra == "assocalpha"):
        extra = None
    count = colours + (extra is not None)
    shape = (height, width, count)
    if dtype[0] == "f":
        samples = numbers.uniform(0, 1, shape).astype(dtype)
    else:
        samples = numbers.integers(0, 1 << bits, shape).astype(dtype)
    if extra == "assocalpha":
        samples[..., :-1] = np.minimum(samples[..., :-1], samples[..., -1:])
    options: dict[str, Any] = {
        "photometric": PHOTOMETRIC.get(kind, kind),
        # packed bits have no order, and the writer swaps them all the same
        "byteorder": "<" if packed else chance.choice("<>"),
        "bigtiff": chance.random() < 0.3,
        "compression": None if packed else chance.choice(COMPRESSIONS),
    }
    if kind == "palette":
        options["colormap"] = numbers.integers(0, 65536, (3, 256)).astype(np.uint16)
    if extra is not None:
        options["extrasamples"] = [extra]
    if packed:
        options["bitspersample"] = bits
    if dtype[0] == "f" and options["compression"] not in (None, "packbits"):
        options["predictor"] = chance.choice([None, "floatingpoint"])
    elif bits in (8, 16) and options["compression"] not in (None, "packbits"):
        options["predictor"] = chance.choice([None, "horizontal"])
    if chance.random() < 0.4:
        options["tile"] = (16 * chance.randrange(1, 3), 16 * chance.randrange(1, 3))
    else:
        options["rowsperstrip"] = chance.randrange(1, height + 1)
    separate = count > 1 and chance.random() < 0.4
    if count > 1:
        options["planarconfig"] = "separate" if separate else "contig"
    if separate:
        samples = samples.transpose(2, 0, 1)
    elif count == 1:
        samples = samples[..., 0]
    turn = chance.choice([1, 1, 1, 2, 3, 4, 5, 6, 7, 8])
    options["extratags"] = [(274, "H", 1, turn, True)]
    return written(np.ascontiguousarray(samples), **options), options


def meant(data: bytes) -> np.ndarray:
    """What a TIFF shows over white, (H, W, 3) in [0, 1], from the samples that tifffile reads."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        samples = page.asarray()
        white = 1.0 if samples.dtype.kind == "f" else 2.0**page.bitspersample - 1
        if samples.ndim == 2:
            samples = samples[..., None]
        elif page.planarconfig == 2:
            samples = samples.transpose(1, 2, 0)
        extras, kind = page.extrasamples, int(page.photometric)
        turn = int(page.tags[274].value) if 274 in page.tags else 1
        table = page.colormap
    colours = {2: 3, 5: 4}.get(kind, 1)
    scaled = samples.astype(np.float64) / white
    found = scaled[..., :colours]
    if kind == 0:
        found = 1 - found
    elif kind == 3:
        found = table.T[samples[..., 0]] / 65535
    elif kind == 5:
        found = (1 - found[..., :3]) * (1 - found[..., 3:])
    if extras and int(extras[0]) in (1, 2):
        alpha = scaled[..., colours : colours + 1]
        found = np.minimum(1, found * (alpha if extras[0] == 2 else 1) + 1 - alpha)
    found = np.broadcast_to(found, (*found.shape[:2], 3))
    return upright(found, turn)


def upright(x: np.ndarray, turn: int) -> np.ndarray:
    """By where row 0 and column 0 are to be seen (TIFF 6.0, Orientation)."""
    if turn >= 5:
        x = x.transpose(1, 0, 2)
    if turn in (2, 3, 6, 7):
        x = x[:, ::-1]
    if turn in (3, 4, 7, 8):
        x = x[::-1]
    return x


@pytest.mark.parametrize("seed", range(FILES // TOGETHER))
def test_a_tiff_is_what_another_reader_finds(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(TOGETHER):
        data, options = drawn(chance)
        pixels, info = image.read(io.BytesIO(data))
        expected = meant(data).transpose(2, 0, 1) * 2 - 1
        assert (info.height, info.width) == expected.shape[1:], options
        # 8-bit inks are mixed in 8 bits
        close = 0.02 if options["photometric"] == "separated" else 1e-6
        np.testing.assert_allclose(pixels, expected, rtol=0, atol=close, err_msg=str(options))


def test_windows_of_a_tiff_are_parts_of_the_whole() -> None:
    chance = random.Random(1)
    for _ in range(20):
        data, _ = drawn(chance)
        picture = image.load(io.BytesIO(data))
        whole = picture.whole()
        height, width = whole.shape[1:]
        rows, columns = slice(height // 3, height), slice(0, width - width // 3)
        np.testing.assert_array_equal(picture.window(rows, columns), whole[:, rows, columns])


def packed(samples: np.ndarray, bits: int, order: str) -> bytes:
    """Rows of samples as a TIFF has them."""
    if bits in (8, 16):
        return samples.astype(f"{order}u{bits // 8}").tobytes()
    high_first = samples[..., None].astype(np.int64) >> np.arange(bits)[::-1] & 1
    return np.packbits(high_first.reshape(len(samples), -1), axis=1).tobytes()


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", range(1, 17))
def test_samples_of_any_number_of_bits_are_read(bits: int, order: str, compression: int) -> None:
    samples = np.random.default_rng(bits).integers(0, 1 << bits, (5, 7))
    data = packed(samples, bits, order)
    tags = {256: 7, 257: 5, 258: bits, 277: 1, 259: compression}
    data = zlib.compress(data) if compression == 8 else data
    for photometric in (0, 1):
        file = plain(data, tags | {262: photometric}, order=order)
        pixels, info = image.read(io.BytesIO(file))
        expected = samples / ((1 << bits) - 1)
        expected = expected if photometric else 1 - expected
        np.testing.assert_allclose(pixels[1], expected * 2 - 1, atol=1e-6)
        assert info.bits == bits
        assert image.is_grey(info)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
@pytest.mark.parametrize("fill", [1, 2])
def test_fax_is_read(compression: str, fill: int) -> None:
    drawing = np.random.default_rng(0).random((20, 37)) < 0.3
    stream = io.BytesIO()
    Image.fromarray(drawing).save(stream, "TIFF", compression=compression, tiffinfo={266: fill})
    pixels, _ = image.read(io.BytesIO(stream.getvalue()))
    np.testing.assert_array_equal(pixels[0] > 0, drawing)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_bits_in_the_other_order_are_turned(bits: int, compression: int) -> None:
    samples = np.random.default_rng(0).integers(0, 1 << bits, (9, 13))
    data = packed(samples, bits, "<")
    data = zlib.compress(data) if compression == 8 else data
    other = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8)), bitorder="little").tobytes()
    tags = {256: 13, 257: 9, 258: bits, 262: 1, 277: 1, 259: compression}
    expected, _ = image.read(io.BytesIO(plain(data, tags)))
    found, _ = image.read(io.BytesIO(plain(other, tags | {266: 2})))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
def test_jpeg_inside_is_read(mode: str) -> None:
    y, x = np.mgrid[0:24, 0:32]
    picture = Image.fromarray(np.stack([x * 8, y * 10, 128 + 0 * x], axis=2).astype(np.uint8))
    stream = io.BytesIO()
    picture.convert(mode).save(stream, "TIFF", compression="jpeg", quality=100)
    pixels, info = image.read(io.BytesIO(stream.getvalue()))
    expected = np.asarray(picture.convert(mode).convert("RGB"), np.float32)
    assert info.format == "TIFF"
    assert np.abs((pixels.transpose(1, 2, 0) + 1) * 127.5 - expected).max() < 12


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 2)])
def test_luma_and_chroma_become_colours(subsampling: tuple[int, int]) -> None:
    across, down = subsampling
    height, width = 8, 16
    y, x = np.mgrid[0:height, 0:width]
    luma = (60 + 8 * x + 2 * y).astype(np.uint8)
    chroma = np.stack([100 + 5 * y, 160 - 4 * x], axis=2)[::down, ::across].astype(np.uint8)
    blocks = luma.reshape(height // down, down, width // across, across).transpose(0, 2, 1, 3)
    units = np.concatenate([blocks.reshape(*chroma.shape[:2], -1), chroma], axis=2)
    tags = {256: width, 257: height, 258: (8, 8, 8), 262: 6, 277: 3, 530: subsampling}
    pixels, _ = image.read(io.BytesIO(plain(units.tobytes(), tags)))
    full = chroma.repeat(down, axis=0).repeat(across, axis=1)
    both = np.concatenate([luma[..., None], full], axis=2)
    expected = np.asarray(Image.fromarray(both, "YCbCr").convert("RGB"), np.float32)
    assert np.abs((pixels.transpose(1, 2, 0) + 1) * 127.5 - expected).max() <= 2


def plain(data: bytes, tags: dict[int, Any], *, order: str = "<") -> bytes:
    """An uncompressed TIFF of one strip, of SHORT tags."""
    tags = {**tags, 273: None, 279: len(data)}
    tags.setdefault(278, tags[257])
    start = 8 + 2 + 12 * len(tags) + 4
    table, behind = b"", b""
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, tuple) else (value,)
        if tag in (273, 279):
            table += struct.pack(f"{order}HHI", tag, 4, 1)
            table += struct.pack(f"{order}I", value or 0) if tag == 279 else b"OFFS"
            continue
        packed = struct.pack(f"{order}{len(values)}H", *values)
        inline = packed.ljust(4, b"\0")
        if len(packed) > 4:
            inline = struct.pack(f"{order}I", start + len(behind))
            behind += packed
        table += struct.pack(f"{order}HHI", tag, 3, len(values)) + inline
    table = table.replace(b"OFFS", struct.pack(f"{order}I", start + len(behind)))
    head = struct.pack(f"{order}HIH", 42, 8, len(tags))
    return (b"II" if order == "<" else b"MM") + head + table + bytes(4) + behind + data


GREY = {256: 4, 257: 2, 258: 8, 262: 1, 277: 1}
COLOUR = {256: 4, 257: 2, 258: (8, 8, 8), 262: 2, 277: 3}


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        (GREY | {262: 8, 258: (8, 8, 8), 277: 3}, "CIELab (PhotometricInterpretation)"),
        (GREY | {262: 32803}, "a raw mosaic (PhotometricInterpretation)"),
        (GREY | {262: 4}, "a mask (PhotometricInterpretation)"),
        (GREY | {259: 34712}, "compression 34712 (Compression)"),
        (GREY | {258: 16, 339: 2}, "16-bit signed integers (SampleFormat)"),
        (GREY | {258: 64, 339: 5}, "64-bit complex integers (SampleFormat)"),
        (GREY | {258: 24, 339: 3}, "24-bit float (BitsPerSample)"),
        (GREY | {258: 24}, "24-bit integers (BitsPerSample)"),
        (GREY | {258: 64}, "64-bit integers (BitsPerSample)"),
        (GREY | {258: 32, 262: 0}, "32-bit integers other than grey from black"),
        (COLOUR | {258: (5, 6, 5)}, "samples of 5, 6, 5 bits (BitsPerSample)"),
        (COLOUR | {339: (1, 1, 3)}, "samples of different kinds (SampleFormat)"),
        (COLOUR | {277: 2}, "2 samples for a pixel of 3 (SamplesPerPixel)"),
        (GREY | {277: 3}, "3 samples for each pixel, of unknown meaning (ExtraSamples)"),
        (
            GREY | {277: 4, 338: (0, 0, 0)},
            "4 samples for each pixel, of unknown meaning (ExtraSamples)",
        ),
        (COLOUR | {262: 5, 277: 4, 332: 2}, "inks other than CMYK (InkSet)"),
        (GREY | {259: 5, 317: 7}, "predictor 7 of 8 bits (Predictor)"),
        (GREY | {254: 1}, "its only page is a reduced copy, as raw files have (NewSubfileType)"),
        (GREY | {32997: 5}, "a volume of 5 slices (ImageDepth)"),
    ],
)
def test_what_is_not_read_is_refused_by_its_tag(tags: dict[int, Any], what: str) -> None:
    for verb in (image.probe, image.read):
        with pytest.raises(MediaError) as caught:
            verb(io.BytesIO(plain(bytes(4096), tags)))
        assert f"unsupported TIFF: {what}" in str(caught.value)
        assert "damaged" not in str(caught.value)


def test_the_tags_of_a_page_may_be_few() -> None:
    pixels, _ = image.read(io.BytesIO(plain(b"\xff" * 8, {256: 4, 257: 2, 258: 8})))
    assert (pixels == 1).all()  # without a photometric interpretation grey is from black


def test_samples_beside_the_colours_are_left_out_and_told() -> None:
    samples = np.full((2, 4, 5), 255, np.uint8)
    samples[..., 4] = 7
    extra = ["unassalpha", "unspecified"]
    data = written(samples, photometric="rgb", planarconfig="contig", extrasamples=extra)
    pixels, info = image.read(io.BytesIO(data))
    assert (pixels == 1).all()
    assert any("1 channel beside" in note for note in info.left_out)


def test_pages_are_counted_and_reduced_ones_passed_over() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(np.zeros((2, 2), np.uint8), subfiletype=1, metadata=None)
        for value in (255, 0, 0):
            writer.write(np.full((4, 6), value, np.uint8), metadata=None)
    pixels, info = image.read(io.BytesIO(stream.getvalue()))
    assert (info.width, info.height, info.frames) == (6, 4, 3)
    assert (pixels == 1).all()
    assert info.left_out == ("1 of 3 pages is taken",)


def test_pages_in_a_circle_end() -> None:
    data = bytearray(plain(bytes(8), GREY))
    data[10 + 12 * 7 : 14 + 12 * 7] = struct.pack("<I", 8)
    assert image.probe(io.BytesIO(bytes(data))).frames == 1


def test_a_segment_that_is_left_out_of_the_file_is_black() -> None:
    data = plain(bytes(8), GREY | {258: 8})
    data = data.replace(struct.pack("<HHII", 279, 4, 1, 8), struct.pack("<HHII", 279, 4, 1, 0))
    start = data.index(struct.pack("<HHI", 273, 4, 1)) + 8
    data = data[:start] + bytes(4) + data[start + 4 :]
    pixels, _ = image.read(io.BytesIO(data))
    assert (pixels == -1).all()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_of_any_size_are_read_from_black_0_to_white_1(dtype: str) -> None:
    for bad in (np.nan, 255.0):
        samples = np.full((3, 4, 3), 0.5, dtype)
        pixels, _ = image.read(io.BytesIO(written(samples, photometric="rgb")))
        np.testing.assert_array_equal(pixels, 0)
        samples[1, 2, 1] = bad
        with pytest.raises(MediaError, match="samples"):
            image.read(io.BytesIO(written(samples, photometric="rgb")))


@pytest.mark.parametrize("scale", [1, 256, 257])
def test_palettes_of_writers_that_have_8_bits_are_read(scale: int) -> None:
    table = (np.arange(256, dtype=np.uint16) * scale)[None].repeat(3, axis=0)
    samples = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels, _ = image.read(io.BytesIO(written(samples, photometric="palette", colormap=table)))
    np.testing.assert_array_equal(image.to_uint8(pixels)[0], samples)


def test_damage_of_any_kind_is_one_error() -> None:
    chance = random.Random(0)
    for _ in range(150):
        data, _ = drawn(chance)
        harmed = bytearray(data[: chance.randrange(8, len(data) + 1)])
        for _ in range(chance.randrange(6)):
            harmed[chance.randrange(2, len(harmed))] = chance.randrange(256)
        try:
            image.read(io.BytesIO(bytes(harmed)), max_pixels=10_000)
        except MediaError as error:
            assert "BytesIO" not in str(error)


def test_a_truncated_tiff_is_damaged_not_unsupported() -> None:
    data = written(np.zeros((50, 50), np.uint16), photometric="minisblack", compression="zlib")
    whole = written(np.zeros((50, 50), np.uint16), photometric="minisblack")
    for each in (data[:20], whole[: len(whole) - 100]):
        with pytest.raises(MediaError, match="truncated or damaged TIFF"):
            image.read(io.BytesIO(each))


def test_a_page_that_promises_thousands_of_samples_takes_no_memory_for_them() -> None:
    count = 20_000
    tags = COLOUR | {
        256: 300,
        257: 300,
        258: 8,
        277: count,
        338: (2, *(0,) * (count - 4)),
        278: 300,
    }
    data = plain(b"", tags)
    start = data.index(struct.pack("<HHI", 273, 4, 1)) + 8
    data = data[:start] + bytes(4) + data[start + 4 :]  # no bytes at 0: the strip is left out
    tracemalloc.start()
    pixels, info = image.read(io.BytesIO(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert info.spare == count - 4
    assert pixels.shape == (3, 300, 300)
    assert peak < 30_000_000


def test_a_private_tag_that_points_nowhere_is_of_no_matter() -> None:
    data = plain(b"\xff" * 8, GREY | {700: (1, 2, 3)})
    at = data.index(struct.pack("<HHI", 700, 3, 3)) + 8
    pixels, _ = image.read(io.BytesIO(data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :]))
    assert (pixels == 1).all()
