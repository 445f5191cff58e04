"""Pictures are read by their bytes, whatever they are called; a reader that is missing is named."""

from __future__ import annotations

import importlib.util
import io
import random
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from vqtok.errors import MediaError
from vqtok.media import image

WIDTH, HEIGHT = 32, 24


def ramp() -> Image.Image:
    """A smooth picture, whose sides and corners are told apart by their colours."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, 128 + 0 * x], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def turned(turn: int) -> bytes:
    """EXIF data; as bytes, which writers of HEIC and AVIF make a property of the picture of."""
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif.tobytes()


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    stream = io.BytesIO()
    picture.save(stream, format=format, **options)
    return stream.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    pixels, _ = image.read(io.BytesIO(data))
    return (pixels.transpose(1, 2, 0) + 1) * 127.5


@pytest.mark.parametrize(
    ("format", "name"), [("AVIF", "AVIF"), ("HEIF", "HEIC"), ("JPEG2000", "JPEG 2000")]
)
def test_formats_of_phones_are_read(format: str, name: str) -> None:
    data = (
        saved(ramp(), format, quality_layers=[1])
        if format == "JPEG2000"
        else saved(ramp(), format, quality=95)
    )
    info = image.probe(io.BytesIO(data))
    assert (info.format, info.width, info.height) == (name, WIDTH, HEIGHT)
    assert np.abs(pixels_of(data) - np.asarray(ramp())).max() < 16


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_pictures_of_phones_are_turned_upright(format: str, turn: int) -> None:
    data = saved(ramp(), format, quality=95, exif=turned(turn))
    reference = saved(ramp(), "PNG", exif=turned(turn))
    found, expected = pixels_of(data), pixels_of(reference)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 16


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_alpha_of_phones_is_laid_over_the_background(format: str) -> None:
    clear = ramp().convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    assert (pixels_of(saved(clear, format)) > 250).all()


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.jif", "a", "a.png", "a.txt"])
def test_a_jpeg_is_one_under_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(saved(ramp(), "JPEG"))
    assert image.probe(path).format == "JPEG"


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "jif"])
def test_a_jpeg_is_written_under_its_other_suffixes(tmp_path: Path, suffix: str) -> None:
    image.write(tmp_path / f"a.{suffix}", np.zeros((3, 8, 8), np.float32))
    assert image.probe(tmp_path / f"a.{suffix}").format == "JPEG"


def test_without_the_extra_a_heic_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(saved(ramp(), "HEIF"))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pillow_heif" else find(name)
    )
    with pytest.raises(MediaError, match="HEIC is read by an extra") as caught:
        image.probe(path)
    assert "vqtok[heif]" in str(caught.value.hint)
    assert "heif-convert" in str(caught.value.hint)


@pytest.mark.parametrize("format", ["AVIF", "HEIF", "JPEG2000"])
def test_damage_of_any_kind_is_one_error(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = saved(ramp(), format)
    chance = random.Random(0)
    for _ in range(60):
        harmed = bytearray(data[: chance.randrange(20, len(data) + 1)])
        for _ in range(chance.randrange(4)):
            harmed[chance.randrange(16, len(harmed))] = chance.randrange(256)
        try:
            image.read(io.BytesIO(bytes(harmed)))
        except MediaError as error:
            assert "BytesIO" not in str(error)
            assert "\n" not in str(error)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_messages_never_show_an_object(format: str) -> None:
    data = bytearray(saved(ramp(), format))
    data[16 + 8 :] = bytes(len(data) - 24)
    with pytest.raises(MediaError) as caught:
        image.read(io.BytesIO(bytes(data)))
    assert "<" not in str(caught.value)


GREY = np.arange(256, dtype=np.uint16).reshape(16, 16)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (imagecodecs.jpeg8_encode(GREY * 16, bitspersample=12), "12 bits per sample"),
        (imagecodecs.ljpeg_encode(GREY * 257), "16 bits per sample"),
    ],
)
def test_a_sound_jpeg_of_an_unusual_kind_is_not_called_damaged(data: bytes, what: str) -> None:
    with pytest.raises(MediaError, match=f"unsupported JPEG: {what}"):
        image.probe(io.BytesIO(data))
    with pytest.raises(MediaError, match="damaged JPEG"):
        image.read(io.BytesIO(data[:30]))


def test_a_jpeg_without_loss_is_exact() -> None:
    data = imagecodecs.jpeg8_encode(GREY.astype(np.uint8), lossless=True)
    np.testing.assert_array_equal(np.rint(pixels_of(data)[..., 0]), GREY)


@pytest.mark.parametrize("inks", ["CMYK", "YCCK"])
def test_inks_of_a_jpeg_are_inverted_as_adobe_has_them(inks: str) -> None:
    cmyk = np.asarray(ramp().convert("CMYK"))
    cmyk = np.concatenate([cmyk[..., :3], np.full_like(cmyk[..., :1], 40)], axis=2)
    data = imagecodecs.jpeg8_encode(
        255 - cmyk, level=100, colorspace="CMYK", outcolorspace=inks, subsampling="444"
    )
    expected = (255 - cmyk[..., :3].astype(float)) * (255 - 40) / 255
    assert np.abs(pixels_of(data) - expected).max() < 6


@pytest.mark.parametrize(
    ("bits", "channels"), [(8, 1), (12, 1), (16, 1), (5, 3), (8, 3), (8, 4), (12, 3), (16, 4)]
)
def test_jpeg_2000_of_any_depth_has_its_tones_and_tells_its_depth(bits: int, channels: int) -> None:
    grey = (GREY.astype(np.uint32) * ((1 << bits) - 1) // 255).astype("u1" if bits <= 8 else "u2")
    white = grey.dtype.type((1 << bits) - 1)
    layers = [grey, grey[::-1], grey.T, np.full_like(grey, white)][:channels]
    samples = np.stack(layers, axis=2) if channels > 1 else grey
    data = imagecodecs.jpeg2k_encode(np.ascontiguousarray(samples), level=0, bitspersample=bits)
    if bits < 8 or (bits > 8 and channels > 1):
        with pytest.raises(MediaError, match=f"unsupported JPEG 2000: {bits} bits per sample"):
            image.probe(io.BytesIO(data))
        return
    info = image.probe(io.BytesIO(data))
    assert info.bits == bits
    assert any(f"{bits} bits" in note for note in info.left_out) == (bits > 8)
    expected = np.stack(layers[:3], axis=2) / ((1 << bits) - 1) * 255
    assert np.abs(pixels_of(data) - expected).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_of_any_depth_has_its_tones_and_tells_its_depth(bits: int) -> None:
    dtype = "u1" if bits == 8 else "u2"
    samples = (np.asarray(ramp()).astype(np.uint32) * ((1 << bits) - 1) // 255).astype(dtype)
    data = imagecodecs.avif_encode(samples, level=95, bitspersample=bits)
    assert image.probe(io.BytesIO(data)).bits == bits
    assert np.abs(pixels_of(data) - np.asarray(ramp())).max() < 16


def test_heic_of_ten_bits_has_its_tones_and_tells_its_depth() -> None:
    import pillow_heif

    samples = np.asarray(ramp()).astype(np.uint16) * 257
    file = pillow_heif.from_bytes(mode="RGB;16", size=(WIDTH, HEIGHT), data=samples.tobytes())
    stream = io.BytesIO()
    file.save(stream, quality=95, bit_depth=10)
    assert image.probe(stream).bits == 10
    assert np.abs(pixels_of(stream.getvalue()) - np.asarray(ramp())).max() < 16


def bmp(rows: bytes, bits: int, *, compression: int = 0, masks: tuple[int, ...] = ()) -> bytes:
    """A BMP of 4 columns and 2 rows, the lower one first; four masks need the longer header."""
    size = 108 if len(masks) == 4 else 40
    head = struct.pack("<IiiHHIIiiII", size, 4, 2, 1, bits, compression, len(rows), 0, 0, 0, 0)
    head += struct.pack(f"<{len(masks)}I", *masks)
    head = head.ljust(size, b"\0")
    start = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + rows


BYTES = (0xFF0000, 0xFF00, 0xFF)
WHITE_RED_GREEN_BLUE = [[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize(
    ("code", "pixels", "options"),
    [
        ("H", (0x7FFF, 0x7C00, 0x03E0, 0x001F), {"bits": 16}),
        (
            "H",
            (0xFFFF, 0xF800, 0x07E0, 0x001F),
            {"bits": 16, "compression": 3, "masks": (0xF800, 0x07E0, 0x1F)},
        ),
        ("I", (0xFFFFFF, 0xFF0000, 0x00FF00, 0x0000FF), {"bits": 32}),
        (
            "I",
            (0xFFFFFF, 0xFF0000, 0x00FF00, 0x0000FF),
            {"bits": 32, "compression": 3, "masks": BYTES},
        ),
        (
            "I",
            (0x00000000, 0xFFFF0000, 0xFF00FF00, 0xFF0000FF),
            {"bits": 32, "compression": 3, "masks": (*BYTES, 0xFF000000)},
        ),
    ],
)
def test_colours_of_a_bmp_are_where_its_masks_say(code: str, pixels, options) -> None:
    rows = struct.pack(f"<4{code}", *pixels) + bytes(4 * struct.calcsize(code))
    found = np.rint(pixels_of(bmp(rows, **options)))
    np.testing.assert_array_equal(found[1], WHITE_RED_GREEN_BLUE)


def test_a_sound_bmp_that_is_not_read_is_not_called_damaged() -> None:
    masks = (0x3FF00000, 0xFFC00, 0x3FF)
    with pytest.raises(MediaError, match="unsupported BMP"):
        image.probe(io.BytesIO(bmp(bytes(32), 32, compression=3, masks=masks)))
