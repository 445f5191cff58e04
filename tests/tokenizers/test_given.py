"""What users give to a model is understood as it is meant, or refused with the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from vqtok.checkpoints import directory
from vqtok.errors import CodesError, UsageError
from vqtok.media import audio, image
from vqtok.tokenizers import _given


@pytest.fixture(scope="module")
def pictures(shelf: Path) -> Any:
    return directory.load(shelf / "image-f8")


@pytest.fixture(scope="module")
def codec(shelf: Path) -> Any:
    return directory.load(shelf / "audio-24k")


def same(ours: Any, theirs: Any) -> bool:
    pairs = zip(ours.numpy().levels, theirs.numpy().levels, strict=True)
    return ours.extent == theirs.extent and all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)


def test_pixels_of_every_form_have_the_codes_of_their_file(pictures, pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read, _ = image.read(tmp_path / "a.png")
    expected = pictures.encode(torch.from_numpy(read)[None])
    with Image.open(tmp_path / "a.png") as opened:
        assert same(pictures.encode(opened), expected)
    assert same(pictures.encode(pixels), expected)
    assert same(pictures.encode(pixels[None]), expected)
    assert same(pictures.encode(read[None]), expected)
    assert same(pictures.encode(read[None].astype(np.float64)), expected)
    assert len(pictures.encode(np.stack([pixels, pixels[::-1]]))) == 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_images_of_pillow_have_the_codes_of_their_file(mode, pictures, pixels, tmp_path):
    made = Image.fromarray(pixels[..., 0].astype(np.uint16) * 250)
    if mode != "I;16":
        made = Image.fromarray(pixels).convert(mode)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    made.save(path)
    read, _ = image.read(path)
    with Image.open(path) as opened:
        assert same(pictures.encode(opened), pictures.encode(torch.from_numpy(read)[None]))


def test_images_of_pillow_are_turned_upright(pictures, pixels, tmp_path):
    made = Image.fromarray(pixels)
    exif = made.getexif()
    exif[0x0112] = 6
    made.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        assert pictures.encode(opened).extent == (34, 21)


def test_grey_and_16_bit_pixels_reach_from_black_to_white():
    grey = _given.signals(np.array([[0, 255]], dtype=np.uint8), "image", 3)
    assert grey.shape == (1, 3, 1, 2) and grey[0, :, 0].tolist() == [[-1.0, 1.0]] * 3
    deep = _given.signals(np.array([[0, 65535]], dtype=np.uint16), "image", 1)
    assert deep.flatten().tolist() == [-1.0, 1.0]


def test_integers_of_audio_have_the_codes_of_their_file(codec, tmp_path):
    samples = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, (900, 2), dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="PCM_16")
    read, _ = audio.read(tmp_path / "a.wav")
    expected = codec.encode(torch.from_numpy(read)[:, None])
    assert same(codec.encode(samples), expected)
    assert same(codec.encode(samples.astype(np.int32) << 16), expected)
    assert same(codec.encode(read[:, None]), expected)
    assert len(codec.encode(samples[:, 0])) == 1


def test_channels_that_are_coded_together_stay_together():
    samples = np.arange(10, dtype=np.int16).reshape(5, 2)
    assert _given.signals(samples, "audio", 2).shape == (1, 2, 5)
    mono = _given.signals(samples[:, 0], "audio", 2)
    assert mono.shape == (1, 2, 5) and torch.equal(mono[:, 0], mono[:, 1])
    with pytest.raises(UsageError, match="shape"):
        _given.signals(np.zeros((5, 3), dtype=np.int16), "audio", 2)


IMAGES = [
    (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "torch.uint8 values found", "x / 127.5 - 1"),
    (torch.zeros(1, 3, 4, 4, dtype=torch.int64), "torch.int64 values found", "x / 127.5 - 1"),
    (torch.zeros(1, 3, 4, 4, dtype=torch.bool), "torch.bool values found", "x / 127.5 - 1"),
    (torch.full((1, 3, 4, 4), 255.0), "from 255 to 255 found", "x / 127.5 - 1"),
    (np.full((1, 3, 4, 4), 255.0), "from 255 to 255 found", "x / 127.5 - 1"),
    (torch.full((1, 3, 4, 4), -1.02), "from -1.02 to -1.02 found", "x.clamp(-1, 1)"),
    (torch.full((1, 3, 4, 4), float("nan")), "NaN or infinite", "nan_to_num"),
    (torch.tensor([0.0, float("nan"), 0.0] * 16).view(1, 3, 4, 4), "NaN or infinite", "nan_to_num"),
    (torch.full((1, 3, 4, 4), float("inf")), "NaN or infinite", "nan_to_num"),
    (torch.full((1, 3, 4, 4), -float("inf")), "NaN or infinite", "nan_to_num"),
    (torch.zeros(3, 4, 4), "shape", ""),
    (np.zeros((4, 4, 3), dtype=np.int64), "int64 values found", "astype('uint8')"),
    (np.zeros((4, 4, 4), dtype=np.uint8), "shape", "x[..., :3]"),
    (np.zeros((3, 4, 5), dtype=np.uint8), "shape", "np.moveaxis(x, -3, -1)"),
    (np.zeros((4,), dtype=np.uint8), "shape", ""),
    (np.zeros((0, 4, 3), dtype=np.uint8), "shape", ""),
    (np.zeros((1, 3, 4, 4), dtype=bool), "bool values found", ""),
    ("photo.png", "str found", ""),
]
SOUNDS = [
    (torch.zeros(1, 1, 400, dtype=torch.int16), "torch.int16 values found", "x / 32768"),
    (torch.full((1, 1, 400), 12000.0), "from 12000 to 12000 found", "x / 32768"),
    (torch.full((1, 1, 400), 4.5), "from 4.5 to 4.5 found", "x.abs().max()"),
    (torch.full((1, 1, 400), float("nan")), "NaN or infinite", "nan_to_num"),
    (np.zeros(400, dtype=np.uint8), "uint8 values found", "astype('int16')"),
    (np.zeros((2, 400), dtype=np.int16), "shape", "x.T"),
    (torch.zeros(1, 400), "shape", ""),
]


def refused(model: Any, given: Any, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        model.encode(given)
    assert message in str(error.value)
    assert hint in (error.value.hint or "")


@pytest.mark.parametrize(("given", "message", "hint"), IMAGES)
def test_what_would_give_wrong_codes_of_an_image_is_refused(given, message, hint, pictures):
    refused(pictures, given, message, hint)


@pytest.mark.parametrize(("given", "message", "hint"), SOUNDS)
def test_what_would_give_wrong_codes_of_audio_is_refused(given, message, hint, codec):
    refused(codec, given, message, hint)


def test_what_is_slightly_outside_is_taken(pictures, codec):
    assert len(pictures.encode(torch.full((1, 3, 8, 8), 255.0) / 127 - 1)) == 1
    assert len(codec.encode(torch.full((1, 1, 400), -3.9))) == 1


def test_plain_codes_are_decoded_like_those_of_encode(pictures, codec):
    codes = pictures.encode(torch.linspace(-1, 1, 3 * 16 * 24).view(1, 3, 16, 24))
    expected, grid = pictures.decode(codes), codes.levels[0]
    for plain in (grid, grid[0], grid.numpy(), grid[0].numpy().astype(np.uint16), [grid]):
        assert torch.equal(pictures.decode(plain), expected)
    assert torch.equal(pictures.decode(codes.numpy()), expected)
    assert torch.equal(pictures.decode(grid, extent=(15, 20)), expected[..., :15, :20])
    sound = codec.encode(torch.linspace(-1, 1, 480).view(1, 1, 480))
    assert torch.equal(codec.decode(sound.levels[0][0]), codec.decode(sound))
    assert codec.decode(sound.levels[0][0], extent=(470,)).shape == (1, 1, 470)


@pytest.mark.parametrize(
    ("plain", "error", "message"),
    [
        (np.zeros((2, 3)), UsageError, "float64 values found"),
        (torch.zeros(2, 3), UsageError, "torch.float32 values found"),
        (np.zeros((2, 3), dtype=bool), UsageError, "bool values found"),
        ("codes.npy", UsageError, "str found"),
        (np.full((2, 3), 64), CodesError, "code 64 is at or above codebook size 64"),
        (np.full((2, 3), -1), CodesError, "negative"),
        (np.zeros(5, dtype=int), CodesError, "rank 1 found"),
        ([np.zeros((2, 3), dtype=int)] * 2, CodesError, "2 arrays found, 1 expected"),
    ],
)
def test_plain_codes_that_do_not_fit_are_refused(plain, error, message, pictures):
    with pytest.raises(error, match=message):
        pictures.decode(plain)


def test_an_extent_must_fit_the_codes(pictures):
    with pytest.raises(CodesError, match="extent"):
        pictures.decode(np.zeros((2, 3), dtype=int), extent=(100, 100))
    codes = pictures.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UsageError, match="extent"):
        pictures.decode(codes, extent=(8, 8))


def test_codes_of_another_model_are_refused(pictures, codec):
    with pytest.raises(CodesError, match="another model"):
        pictures.decode(codec.encode(torch.zeros(1, 1, 400)))
