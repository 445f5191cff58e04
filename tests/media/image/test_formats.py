"""Pictures are read by their bytes, whatever they are called; a reader that is missing is named."""

from __future__ import annotations

import importlib.util
import io
import random
from pathlib import Path

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
