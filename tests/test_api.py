"""One line of Python does what a command does, with the same codes and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import vqtok
from vqtok.backends.torch_backend import coder
from vqtok.errors import CodesError, MediaError, UsageError, VqtokError
from vqtok.media.plan import Job
from vqtok.pipeline.encode import encode


@pytest.fixture(autouse=True)
def models_folder(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQTOK_MODELS", str(shelf))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 45, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (11025, 2))
    soundfile.write(tmp_path / "stereo.wav", samples, 22050)
    return tmp_path / "stereo.wav"


@pytest.mark.parametrize("kind", ["photo", "stereo"])
def test_a_file_is_encoded_as_by_the_command(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
):
    source: Path = request.getfixturevalue(kind)
    modality = "image" if kind == "photo" else "audio"
    name = "image-f8" if kind == "photo" else "audio-24k"
    (tmp_path / "by").mkdir()
    expected = tmp_path / "by" / "command.npy"
    list(encode([Job(source, expected, modality)], coder_for=lambda _: coder(vqtok.load(name))))
    codes, header = vqtok.encode_file(source)
    stored, known = vqtok.read_codes(expected)
    assert header == known
    for ours, theirs in zip(codes.levels, stored.levels, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    target = tmp_path / "again.npy"
    vqtok.write_codes(target, codes, header)
    assert target.read_bytes() == expected.read_bytes()
    vqtok.encode_file(source, target, overwrite=True)
    assert target.read_bytes() == expected.read_bytes()


def test_a_photo_comes_back_at_its_size(photo: Path, tmp_path: Path):
    vqtok.encode_file(str(photo), tmp_path / "codes.npy")
    made = vqtok.decode_file(tmp_path / "codes.npy")
    assert made == tmp_path / "codes.recon.png"
    with Image.open(made) as image:
        assert image.size == (45, 30)
    jpeg = vqtok.decode_file(tmp_path / "codes.npy", tmp_path / "back.jpg")
    with Image.open(jpeg) as image:
        assert image.format == "JPEG"


def test_a_recording_comes_back_with_its_channels_rate_and_length(stereo: Path, tmp_path: Path):
    vqtok.encode_file(stereo, tmp_path / "codes.safetensors", depth=2)
    made = vqtok.decode_file(tmp_path / "codes.safetensors", tmp_path / "back.wav", depth=1)
    info = soundfile.info(made)
    assert (info.channels, info.samplerate, info.frames) == (2, 22050, 11025)
    codes, header = vqtok.encode_file(stereo, mono=True)
    assert header.channels == 1 and codes.depth == 3


def test_nothing_is_overwritten_unasked(photo: Path, tmp_path: Path):
    codes = tmp_path / "codes.npy"
    vqtok.encode_file(photo, codes)
    with pytest.raises(UsageError, match="already exists") as error:
        vqtok.encode_file(photo, codes)
    assert error.value.hint == "overwrite=True replaces it"
    with pytest.raises(UsageError, match="is the input"):
        vqtok.encode_file(photo, photo, overwrite=True)
    made = vqtok.decode_file(codes)
    with pytest.raises(UsageError, match="already exists"):
        vqtok.decode_file(codes)
    assert vqtok.decode_file(codes, overwrite=True) == made


def test_errors_of_files_and_models_are_raised(photo: Path, stereo: Path, tmp_path: Path):
    with pytest.raises(VqtokError, match=r"nowhere\.png"):
        vqtok.encode_file(tmp_path / "nowhere.png")
    with pytest.raises(UsageError, match="no-such-model"):
        vqtok.encode_file(photo, model="no-such-model")
    with pytest.raises(MediaError, match="for audio"):
        vqtok.encode_file(photo, model="audio-24k")
    with pytest.raises(MediaError, match="a directory"):
        vqtok.encode_file(tmp_path)
    with pytest.raises(CodesError, match="depth 9"):
        vqtok.encode_file(stereo, depth=9)
    damaged = tmp_path / "damaged.npy"
    damaged.write_bytes(b"\x93NUMPY")
    with pytest.raises(CodesError, match=r"damaged\.npy"):
        vqtok.decode_file(damaged)


def test_arrays_of_other_programs_are_decoded_with_a_model(tmp_path: Path):
    np.save(tmp_path / "plain.npy", np.zeros((3, 5), dtype=np.int32))
    with pytest.raises(CodesError, match="another program"):
        vqtok.decode_file(tmp_path / "plain.npy")
    with Image.open(vqtok.decode_file(tmp_path / "plain.npy", model="image-f8")) as image:
        assert image.size == (40, 24)


def test_models_are_listed_by_name():
    found = {each.name: each.spec.modality for each in vqtok.models()}
    assert found["image-f8"] == "image" and found["audio-24k"] == "audio"


def test_codes_of_a_model_are_written_without_a_header(tmp_path: Path):
    image, sound = vqtok.load("image-f8"), vqtok.load("audio-24k")
    codes = image.encode(torch.zeros(1, 3, 20, 30))
    vqtok.write_codes(tmp_path / "a.npy", codes)
    stored, header = vqtok.read_codes(tmp_path / "a.npy")
    assert header.extent == (20, 30) and header.spec == image.spec
    np.testing.assert_array_equal(stored.levels[0], codes.numpy().levels[0])
    with Image.open(vqtok.decode_file(tmp_path / "a.npy")) as back:
        assert back.size == (30, 20)
    vqtok.write_codes(tmp_path / "b.npy", sound.encode(torch.zeros(2, 1, 800)))
    assert vqtok.read_codes(tmp_path / "b.npy")[1].channels == 2
    with pytest.raises(CodesError, match="2 items"):
        vqtok.write_codes(tmp_path / "c.npy", image.encode(torch.zeros(2, 3, 8, 8)))


def test_read_codes_gives_levels_their_shapes_with_and_without_a_header(tmp_path, shelf, photo):
    codes, _ = vqtok.encode_file(photo, tmp_path / "a.npy", model=shelf / "image-f8")
    stored, header = vqtok.read_codes(tmp_path / "a.npy")
    grid = stored.arrays()["codes"]
    assert stored.levels[0].shape == (1, *grid.shape) == codes.levels[0].shape
    np.save(tmp_path / "flat.npy", np.stack([grid.reshape(-1)] * 2))
    with pytest.raises(vqtok.VqtokError, match="without a vqtok header"):
        vqtok.read_codes(tmp_path / "flat.npy")
    both, made_up = vqtok.read_codes(
        tmp_path / "flat.npy", model=shelf / "image-f8", size=header.extent
    )
    assert both.levels[0].shape == (2, *grid.shape)
    np.testing.assert_array_equal(both.levels[0][1], grid)
    assert made_up.extent == header.extent
