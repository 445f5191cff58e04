"""Encode and decode as a user types them, with everything restored exactly."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.cli.pictures import look
from vqtok.codes import files


@pytest.mark.parametrize("size", [(37, 21), (1, 1), (8, 8), (7, 64)])
def test_a_photo_comes_back_at_its_exact_size(vqtok, picture, here, size):
    picture("photo.png", width=size[0], height=size[1])
    encoded = vqtok("encode", "photo.png", "-o", "codes.npy")
    assert (encoded.exit_code, encoded.stdout) == (0, "codes.npy\n")
    decoded = vqtok("decode", "codes.npy")
    assert (decoded.exit_code, decoded.stdout) == (0, "codes.recon.png\n")
    assert look("codes.recon.png").size == size
    assert np.load("codes.npy").shape == (-(-size[1] // 8), -(-size[0] // 8))


@pytest.mark.parametrize(("rate", "length", "channels"), [(8000, 4001, 1), (11025, 999, 2)])
def test_speech_comes_back_with_its_length_rate_and_channels(
    vqtok, recording, here, rate, length, channels
):
    recording("speech.wav", rate=rate, length=length, channels=channels)
    assert vqtok("encode", "speech.wav", "-o", "speech.safetensors").exit_code == 0
    assert vqtok("decode", "speech.safetensors", "-o", "back.wav").exit_code == 0
    info = soundfile.info("back.wav")
    assert (info.samplerate, info.frames, info.channels) == (rate, length, channels)


def test_native_rate_leaves_the_rate_of_the_model(vqtok, recording):
    recording("speech.wav", rate=16000, length=1001)
    vqtok("encode", "speech.wav")
    assert vqtok("decode", "speech.safetensors", "--native-rate").exit_code == 0
    info = soundfile.info("speech.recon.wav")
    assert (info.samplerate, info.frames) == (8000, 501)


def test_stereo_channels_have_the_codes_they_would_have_alone(vqtok, recording, here):
    recording("both.wav", channels=2)
    samples, rate = soundfile.read("both.wav")
    for channel, name in enumerate(("left", "right")):
        soundfile.write(f"{name}.wav", samples[:, channel], rate)
    assert vqtok("encode", "both.wav", "left.wav", "right.wav").exit_code == 0
    both, header = files.read(here / "both.safetensors")
    assert header.channels == 2
    for channel, name in enumerate(("left", "right")):
        alone, _ = files.read(here / f"{name}.safetensors")
        np.testing.assert_array_equal(both.levels[0][channel], alone.levels[0][0])


def test_mono_mixes_down_and_comes_back_as_mono(vqtok, recording):
    recording("both.wav", channels=2)
    assert vqtok("encode", "both.wav", "--mono", "-o", "one.npy").exit_code == 0
    assert np.load("one.npy").ndim == 2
    vqtok("decode", "one.npy", "-o", "one.flac")
    assert soundfile.info("one.flac").channels == 1


def test_many_inputs_and_directories_keep_their_tree(vqtok, picture, recording, here):
    for name in ("a.jpg", "b.webp", "dir/c.png", "dir/deep/d.bmp"):
        picture(name)
    recording("dir/e.wav")
    result = vqtok("encode", "a.jpg", "b.webp", "dir/", "-o", "out/")
    assert result.exit_code == 0
    names = ["a", "b", "c", "deep/d", "e"]
    expected = [f"out/{name}.safetensors" for name in names]
    assert result.stdout.splitlines() == expected
    assert sorted(str(p.relative_to(here)) for p in (here / "out").rglob("*.*")) == expected


def test_codes_depend_on_nothing_but_the_file(vqtok, picture, here):
    picture("a.png")
    picture("b.png", width=64, height=40)
    vqtok("encode", "a.png", "-o", "alone.safetensors", "-j", "1")
    vqtok("encode", "b.png", "a.png", "b.png", "-o", "out/", "-j", "4")
    vqtok("encode", "-", "-o", "piped.safetensors", input=(here / "a.png").read_bytes())
    alone = files.read(here / "alone.safetensors")[0].levels[0]
    for other in ("out/a.safetensors", "piped.safetensors"):
        np.testing.assert_array_equal(files.read(here / other)[0].levels[0], alone)


def test_the_same_command_writes_the_same_bytes(vqtok, picture, here):
    picture("a.png")
    made = []
    for _ in range(2):
        vqtok("encode", "a.png", "-f", "-o", "a.npy")
        vqtok("decode", "a.npy", "-f")
        made.append((here / "a.npy").read_bytes() + (here / "a.recon.png").read_bytes())
    assert made[0] == made[1]


def test_grey_comes_back_as_grey(vqtok, picture):
    picture("grey.png", mode="L")
    vqtok("encode", "grey.png")
    vqtok("decode", "grey.safetensors")
    assert look("grey.recon.png").mode == "L"


def test_depth_keeps_a_prefix_of_the_full_codes(vqtok, recording):
    recording("speech.wav")
    vqtok("encode", "speech.wav", "-o", "full.npy")
    vqtok("encode", "speech.wav", "-o", "two.npy", "--depth", "2")
    np.testing.assert_array_equal(np.load("two.npy"), np.load("full.npy")[:2])
    assert vqtok("decode", "full.npy", "--depth", "2", "-o", "a.wav").exit_code == 0
    assert vqtok("decode", "two.npy", "-o", "b.wav").exit_code == 0
    np.testing.assert_array_equal(soundfile.read("a.wav")[0], soundfile.read("b.wav")[0])


@pytest.mark.parametrize(("name", "format"), [("back.flac", "FLAC"), ("back.ogg", "OGG")])
def test_the_suffix_of_the_output_picks_the_audio_format(vqtok, recording, name, format):
    recording("speech.wav")
    vqtok("encode", "speech.wav")
    assert vqtok("decode", "speech.safetensors", "-o", name).exit_code == 0
    assert soundfile.info(name).format == format


def test_format_picks_the_default_suffix(vqtok, picture):
    picture("a.png")
    assert vqtok("encode", "a.png", "--format", "npy").stdout == "a.npy\n"
    assert vqtok("decode", "a.npy", "--format", "webp").stdout == "a.recon.webp\n"
    assert look("a.recon.webp").format == "WEBP"


def test_background_shows_through_transparent_pixels(vqtok, here):
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save("clear.png")
    Image.new("RGB", (16, 16), "red").save("red.png")
    vqtok("encode", "clear.png", "--background", "red", "-o", "clear.npy")
    vqtok("encode", "red.png", "-o", "red.npy")
    np.testing.assert_array_equal(np.load("clear.npy"), np.load("red.npy"))


def test_a_foreign_array_decodes_with_a_named_model(vqtok, here):
    np.save("foreign.npy", np.arange(6).reshape(2, 3))
    result = vqtok("decode", "foreign.npy", "-m", "image-f8")
    assert result.exit_code == 0, result.stderr
    assert look("foreign.recon.png").size == (24, 16)
    refused = vqtok("decode", "foreign.npy", "-f")
    assert refused.exit_code == 1
    assert "-m" in refused.stderr


def test_json_gives_one_line_per_input_with_units(vqtok, picture, recording):
    picture("a.png", width=16, height=8)
    recording("b.wav", length=8000)
    result = vqtok("encode", "a.png", "b.wav", "missing.png", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    by_source = {line["source"]: line for line in lines}
    assert set(by_source) == {"a.png", "b.wav", "missing.png"}
    assert by_source["a.png"]["shapes"] == [[1, 2]]
    assert by_source["a.png"]["bits_per_pixel"] == pytest.approx(2 * 6 / 128, abs=1e-4)
    assert by_source["b.wav"]["kbit_per_s"] == pytest.approx(3 * 4 * 100 / 1000)
    assert "no such file" in by_source["missing.png"]["error"]


def test_v_tells_how_many_codes_hung_on_rounding(vqtok, picture):
    picture(width=200, height=160)
    said = re.compile(r"^\d+ of 500 latents decided", re.M)
    assert said.search(vqtok("encode", "photo.png", "-v").stderr)
    corpus = vqtok("encode", "photo.png", "-v", "--format", "bin", "-o", "corpus/")
    assert said.search(corpus.stderr)
