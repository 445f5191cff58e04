"""Windows of a picture are parts of the whole, bit for bit, whatever the file's mode and turn."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.examples import examples
from vqtok.errors import MediaError
from vqtok.media import image
from vqtok.media.image.picture import _TURNS

HEIGHT, WIDTH = 23, 37
PHOTO = Path(__file__).parents[2] / "data" / "photo.png"


def drawn(mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(rng.uniform(0, 1, (HEIGHT, WIDTH)).astype(np.float32))
    colours = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8))
    return colours.convert("RGB").convert(mode) if mode in ("P", "1", "CMYK") else colours.convert(
        mode
    )  # fmt: skip


def saved(mode: str, format: str, orientation: int = 1, **options: object) -> io.BytesIO:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    drawn(mode).save(file, format, exif=exif, **options)
    return file


FILES = [
    *((mode, "PNG", {}) for mode in ("RGB", "L", "RGBA", "LA", "P", "1", "I;16")),
    ("P", "PNG", {"transparency": 7}),
    ("RGB", "PNG", {"transparency": (1, 2, 3)}),
    ("I;16", "PNG", {"transparency": 30000}),
    *((mode, "TIFF", {}) for mode in ("RGB", "CMYK", "F", "I;16")),
    *((mode, "JPEG", {}) for mode in ("RGB", "L", "CMYK")),
    ("RGBA", "WEBP", {"lossless": True}),
]


@pytest.mark.parametrize(("mode", "format", "options"), FILES)
@examples(15, many=100)
@given(data=st.data())
def test_a_window_is_a_part_of_the_whole(mode, format, options, data) -> None:
    turn = data.draw(st.integers(1, 8), label="orientation")
    file = saved(mode, format, turn, **options)
    background = data.draw(st.sampled_from(("white", "#123456")), label="background")
    whole, info = image.read(file, background=background)
    picture = image.load(file, background=background)
    assert picture.info == info
    cuts = []
    for size in (info.height, info.width):
        start = data.draw(st.integers(0, size - 1))
        cuts.append(slice(start, data.draw(st.integers(start + 1, size))))
    window = picture.window(*cuts)
    np.testing.assert_array_equal(window, whole[:, cuts[0], cuts[1]])
    assert (window.dtype, window.flags.c_contiguous) == (np.float32, True)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_window_is_turned_as_pillow_turns_the_whole(turn: int) -> None:
    oracle = drawn("RGB")
    if turn > 1:
        oracle = oracle.transpose(_TURNS[turn])
    picture = image.load(saved("RGB", "PNG", turn))
    assert (picture.info.width, picture.info.height) == oracle.size
    window = picture.window(slice(2, 19), slice(5, 20))
    expected = np.asarray(oracle)[2:19, 5:20].transpose(2, 0, 1)
    np.testing.assert_array_equal(image.to_uint8(window), expected)


def test_a_turned_picture_above_the_limit_is_turned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "MAX_PIXELS", 100)
    for format in ("PNG", "JPEG"):
        picture = image.load(saved("RGB", format, 6), max_pixels=None)
        assert (picture.info.width, picture.info.height) == (HEIGHT, WIDTH)
        assert picture.whole().shape == (3, WIDTH, HEIGHT)


def test_samples_out_of_range_are_found_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from vqtok.media.image import pixels

    monkeypatch.setattr(pixels, "_PART_PIXELS", WIDTH)  # row by row
    values = np.array(drawn("F"))
    values[20, 3], values[1, 1] = 2.5, -1
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    with pytest.raises(MediaError, match=r"samples from -1 to 2\.5, expected 0"):
        image.load(file)
    values[20, 3] = np.nan
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    with pytest.raises(MediaError, match="not finite"):
        image.load(file)


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("grey", [False, True])
@examples(20, many=100)
@given(cuts=st.lists(st.integers(1, HEIGHT - 1), unique=True))
def test_bands_make_the_same_file_as_the_whole(format: str, grey: bool, cuts: list[int]) -> None:
    pixels = np.random.default_rng(1).uniform(-1.1, 1.1, (3, HEIGHT, WIDTH)).astype(np.float32)
    whole, bands = io.BytesIO(), io.BytesIO()
    image.write(whole, pixels, format=format, grey=grey)
    writer = image.Writer(bands, (HEIGHT, WIDTH), format=format, grey=grey)
    for band in np.split(pixels, sorted(cuts), axis=1):
        writer.write(band)
    writer.save()
    assert bands.getvalue() == whole.getvalue()
    if format != "jpg":
        with Image.open(whole) as back:
            found = np.asarray(back.convert("L" if grey else "RGB"))
        values = pixels.mean(axis=0) if grey else pixels.transpose(1, 2, 0)
        np.testing.assert_array_equal(found, image.to_uint8(values))


@given(rows=st.integers(1, HEIGHT), columns=st.integers(1, WIDTH))
def test_tiles_in_any_order_make_the_same_file(rows: int, columns: int) -> None:
    pixels = np.random.default_rng(1).uniform(-1, 1, (3, HEIGHT, WIDTH)).astype(np.float32)
    whole, tiles = io.BytesIO(), io.BytesIO()
    image.write(whole, pixels)
    writer = image.Writer(tiles, (HEIGHT, WIDTH))
    places = [
        (slice(y, min(y + rows, HEIGHT)), slice(x, min(x + columns, WIDTH)))
        for y in range(0, HEIGHT, rows)
        for x in range(0, WIDTH, columns)
    ]
    for place in reversed(places):
        writer.put(*place, pixels[:, place[0], place[1]])
    writer.save()
    assert tiles.getvalue() == whole.getvalue()


def test_a_writer_takes_no_more_and_no_fewer_pixels(tmp_path: Path) -> None:
    writer = image.Writer(tmp_path / "a.png", (4, 3))
    writer.write(np.zeros((3, 3, 3)))
    with pytest.raises(ValueError, match="9 pixels of 4x3 are set"):
        writer.save()
    with pytest.raises(ValueError, match="do not fit"):
        writer.write(np.zeros((3, 2, 3)))
    with pytest.raises(ValueError, match="do not fit"):
        writer.put(slice(0, 1), slice(2, 4), np.zeros((3, 1, 2)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "RGBA", "LA", "I;16", "F"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_bytes_are_what_the_floats_are(mode: str, orientation: int) -> None:
    format = "TIFF" if mode in ("F", "CMYK") else "PNG"
    picture = image.load(saved(mode, format, orientation))
    floats = image.to_uint8(picture.whole())
    np.testing.assert_array_equal(picture.shrunk(None).transpose(2, 0, 1), floats)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_shrunk_well_from_part_of_its_resolution(
    tmp_path: Path, orientation: int
) -> None:
    photo = Image.open(PHOTO).convert("RGB").resize((1200, 800), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / "a.jpg", quality=95, exif=exif)
    decoded = Image.open(tmp_path / "a.jpg")
    expected = np.asarray(decoded.resize((150, 100), Image.Resampling.LANCZOS), dtype=float)
    quick = image.load(tmp_path / "a.jpg", enough=200)
    assert min(quick.info.width, quick.info.height) == 200  # a quarter was decoded
    found = quick.shrunk(100)
    if orientation == 6:
        expected = np.rot90(expected, -1)
    assert found.shape == expected.shape
    error = ((found - expected) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 40


def test_small_images_keep_their_size(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    assert image.load(tmp_path / "a.jpg", enough=200).shrunk(100).shape == (20, 30, 3)
    Image.new("RGB", (300, 20)).save(tmp_path / "b.png")
    assert image.load(tmp_path / "b.png").shrunk(10).shape == (10, 150, 3)
