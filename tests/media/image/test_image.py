"""Image files come in as a viewer shows them and go out as they were."""

from __future__ import annotations

import io
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.media.files import Pipe, png
from vqtok.errors import MediaError, UsageError
from vqtok.media import image

SIDES = st.integers(1, 40)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_float(bytes_: np.ndarray) -> np.ndarray:
    """The oracle: (H, W, 3) or (H, W) uint8 → (3, H, W) in [-1, 1], in float64."""
    values = bytes_ if bytes_.ndim == 3 else np.repeat(bytes_[..., None], 3, axis=2)
    return values.transpose(2, 0, 1) / 127.5 - 1


def encoded(picture: Image.Image, format: str, **options: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    picture.save(buffer, format=format, **options)
    buffer.seek(0)
    return buffer


@given(height=SIDES, width=SIDES, seed=st.integers(0, 9))
@pytest.mark.parametrize("format", ["png", "webp", "tiff", "bmp"])
def test_any_size_survives_a_lossless_file_exactly(
    format: str, height: int, width: int, seed: int
) -> None:
    values = noise(height, width, seed)
    buffer = io.BytesIO()
    image.write(buffer, as_float(values).astype(np.float32), format=format)
    pixels, info = image.read(buffer)
    assert pixels.shape == (3, height, width) and pixels.dtype == np.float32
    assert (info.width, info.height, info.frames) == (width, height, 1)
    np.testing.assert_array_equal(image.to_uint8(pixels).transpose(1, 2, 0), values)


@given(height=SIDES, width=SIDES)
def test_grey_stays_grey(height: int, width: int) -> None:
    values = noise(height, width)[..., 0]
    pixels, info = image.read(encoded(Image.fromarray(values), "PNG"))
    assert image.is_grey(info)
    buffer = io.BytesIO()
    image.write(buffer, pixels, grey=True)
    again = Image.open(buffer)
    assert again.mode == "L"
    np.testing.assert_array_equal(np.asarray(again), values)


def test_jpeg_is_written_without_chroma_subsampling(tmp_path: Path) -> None:
    image.write(tmp_path / "a.jpg", as_float(noise(16, 16)).astype(np.float32))
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.format == "JPEG"
        assert {layer[1:3] for layer in picture.layer} == {(1, 1)}  # type: ignore[attr-defined]


def test_format_beats_the_suffix(tmp_path: Path) -> None:
    image.write(tmp_path / "a.jpg", np.zeros((3, 2, 2)), format="png")
    assert image.probe(tmp_path / "a.jpg").format == "PNG"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    original = Image.fromarray(noise(8, 12))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if format == "JPEG" else {}
    if format == "WEBP":
        options = {"lossless": True}
    data = encoded(original, format, exif=exif, **options)
    expected = ImageOps.exif_transpose(Image.open(data)).convert("RGB")
    data.seek(0)
    pixels, info = image.read(data)
    assert (info.width, info.height) == expected.size
    assert info == image.probe(data)
    np.testing.assert_allclose(pixels, as_float(np.asarray(expected)), atol=1e-6)


def test_damaged_exif_is_no_orientation() -> None:
    data = encoded(Image.fromarray(noise(4, 6)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffjunk")
    assert image.read(data)[0].shape == (3, 4, 6)


def test_palette_with_a_transparent_entry_shows_the_background() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 255, 0, 0])
    picture.putpixel((1, 0), 1)
    data = encoded(picture, "PNG", transparency=0)
    pixels, info = image.read(data, background="#0000ff")
    assert info.has_alpha and info.mode == "P"
    np.testing.assert_array_equal(image.to_uint8(pixels)[:, 0, 0], [0, 0, 255])
    np.testing.assert_array_equal(image.to_uint8(pixels)[:, 0, 1], [255, 0, 0])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_shows_the_background(mode: str) -> None:
    picture = Image.new(mode, (2, 1), "black")
    picture.putpixel((1, 0), 9 if mode == "L" else (9, 9, 9))
    data = encoded(picture, "PNG", transparency=9 if mode == "L" else (9, 9, 9))
    pixels = image.to_uint8(image.read(data)[0])
    np.testing.assert_array_equal(pixels[:, 0, 1], [255, 255, 255])
    np.testing.assert_array_equal(pixels[:, 0, 0], [0, 0, 0])


@pytest.mark.parametrize("background", ["white", "black", "rebeccapurple", "#12a", "#1020f0"])
def test_alpha_is_composited_over_the_background(background: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    data = encoded(Image.fromarray(values), "PNG")
    alpha = values[..., 3:] / 255
    colour = np.array(Image.new("RGB", (1, 1), background))[0, 0]
    expected = values[..., :3] * alpha + colour * (1 - alpha)
    pixels, _ = image.read(data, background=background)
    np.testing.assert_allclose(pixels, as_float(expected), atol=1e-6)


def test_opaque_pixels_do_not_see_the_background() -> None:
    values = np.dstack([noise(4, 4), np.full((4, 4), 255, np.uint8)])
    data = encoded(Image.fromarray(values), "PNG")
    on_white, on_red = (image.read(data, background=name)[0] for name in ("white", "red"))
    np.testing.assert_array_equal(on_white, on_red)


def test_grey_with_alpha_is_grey_only_over_grey() -> None:
    data = encoded(Image.new("LA", (2, 2), (40, 100)), "PNG")
    assert image.is_grey(image.read(data, background="#808080")[1])
    pixels, info = image.read(data, background="red")
    assert not image.is_grey(info)
    assert not np.array_equal(pixels[0], pixels[1])


@pytest.mark.parametrize("background", ["whit", "#12", "", "rgb(1,2"])
def test_bad_background_is_a_usage_error(background: str) -> None:
    with pytest.raises(UsageError, match="not a colour"):
        image.read(encoded(Image.new("RGB", (1, 1)), "PNG"), background=background)


def test_transparent_background_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="opaque"):
        image.read(encoded(Image.new("RGB", (1, 1)), "PNG"), background="#ffffff80")


def test_sixteen_bit_grey_keeps_its_precision() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (6, 5), dtype=np.uint16)
    pixels, info = image.read(encoded(Image.fromarray(values), "PNG"))
    assert info.bits == 16 and image.is_grey(info)
    np.testing.assert_allclose(pixels[0], values / 32767.5 - 1, atol=1e-6)


def test_sixteen_bit_colour_keeps_its_precision() -> None:
    # Pillow writes no such file: 1x1, RGB, 16 bits.
    row = b"\0" + struct.pack(">3H", 0x0102, 0x8081, 0xFFFF)
    data = png(struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0), row)
    pixels, info = image.read(io.BytesIO(data))
    assert (info.bits, info.mode) == (16, "RGB")
    expected = np.array([0x0102, 0x8081, 0xFFFF]) / 32767.5 - 1
    np.testing.assert_allclose(pixels.ravel(), expected, atol=1e-6)


def test_float_tiff_is_read_from_black_0_to_white_1() -> None:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    pixels, info = image.read(encoded(Image.fromarray(values), "TIFF"))
    assert info.bits == 32
    np.testing.assert_allclose(pixels[2], values * 2 - 1, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 255.0, -0.5])
def test_float_samples_without_a_scale_are_refused(bad: float) -> None:
    values = np.array([[0.5, bad]], dtype=np.float32)
    with pytest.raises(MediaError, match=r"finite|expected 0 \(black\) to 1 \(white\)"):
        image.read(encoded(Image.fromarray(values), "TIFF"))


def test_bilevel_is_black_and_white() -> None:
    values = np.array([[True, False, True]])
    pixels, info = image.read(encoded(Image.fromarray(values), "PNG"))
    assert info.bits == 1 and image.is_grey(info)
    np.testing.assert_array_equal(pixels[0], [[1, -1, 1]])


def test_inverted_cmyk_jpeg_has_its_colours() -> None:
    # Pillow writes CMYK JPEGs the Adobe way, inverted and marked.
    red_ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    data = encoded(red_ink, "JPEG", quality=100)
    assert b"Adobe" in data.getvalue()
    pixels, info = image.read(data)
    assert info.mode == "CMYK"
    np.testing.assert_allclose(image.to_uint8(pixels)[:, 4, 4], [255, 0, 0], atol=3)


def test_only_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    pixels, info = image.read(data)
    assert info.frames == 3
    np.testing.assert_array_equal(image.to_uint8(pixels)[:, 0, 0], [255, 0, 0])


@given(st.floats(-3, 3, width=32))
def test_to_uint8_rounds_half_to_even_and_clips(value: float) -> None:
    scaled = (np.float32(value) + np.float32(1)) * np.float32(127.5)
    expected = min(255, max(0, round(float(scaled))))  # Python's round() goes half to even
    assert image.to_uint8(np.array([value], np.float32))[0] == expected


def test_pipes_are_read_from_where_they_are() -> None:
    values = noise(3, 5)
    data = encoded(Image.fromarray(values), "PNG").getvalue()
    pixels, _ = image.read(io.BufferedReader(Pipe(data)))
    np.testing.assert_array_equal(image.to_uint8(pixels).transpose(1, 2, 0), values)


def test_pillows_limit_is_as_before_after_reading_in_threads(tmp_path: Path) -> None:
    image.write(tmp_path / "a.png", np.zeros((3, 20, 20)))
    before = Image.MAX_IMAGE_PIXELS
    threads = [threading.Thread(target=image.read, args=(tmp_path / "a.png",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", [".gif", ".xyz", ""])
def test_unwritable_format_lists_the_formats(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match="cannot write image") as caught:
        image.write(tmp_path / f"a{suffix}", np.zeros((3, 2, 2)))
    assert "png" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_pixels_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="not finite"):
        image.write(tmp_path / "a.png", np.full((3, 2, 2), np.nan))
    assert not list(tmp_path.iterdir())


def test_a_format_that_is_too_small_for_the_image_says_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot write 20000x1 pixels as WEBP"):
        image.write(tmp_path / "a.webp", np.zeros((3, 1, 20000)))
