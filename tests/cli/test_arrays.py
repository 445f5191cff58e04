"""Arrays without a header and flat token files go back to pictures and sound with -m."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.ledger import pictures, recordings


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture
def coded(vqtok, here, picture) -> np.ndarray:
    """The codes of photo.png, 37x21, as an array, and back.png, what they decode to."""
    picture()
    assert vqtok("encode", "photo.png", "-o", "codes.npy").exit_code == 0
    assert vqtok("decode", "codes.npy", "-o", "back.png").exit_code == 0
    return np.load(here / "codes.npy")


def test_a_grid_comes_back_with_the_size_that_is_named(vqtok, here, coded):
    np.save(here / "x.npy", coded.astype(np.int64))
    made = vqtok("decode", "x.npy", "-m", "image-f8", "--size", "21x37", "-o", "y.png")
    assert made.exit_code == 0
    np.testing.assert_array_equal(pixels(here / "y.png"), pixels(here / "back.png"))
    assert vqtok("decode", "x.npy", "-m", "image-f8", "-o", "whole.png").exit_code == 0
    whole = pixels(here / "whole.png")
    assert whole.shape == (8 * coded.shape[0], 8 * coded.shape[1], 3)


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_a_flat_one_needs_its_size(vqtok, here, coded, dtype):
    np.save(here / "x.npy", coded.reshape(-1).astype(dtype))
    refused = vqtok("decode", "x.npy", "-m", "image-f8")
    assert refused.exit_code == 1
    assert "the size of the original must be known" in refused.stderr
    assert "--size HxW" in refused.stderr
    wrong = vqtok("decode", "x.npy", "-m", "image-f8", "--size", "99x99")
    assert wrong.exit_code == 1 and "codes found" in wrong.stderr
    made = vqtok("decode", "x.npy", "-m", "image-f8", "--size", "21x37", "-o", "y.png")
    assert made.exit_code == 0
    np.testing.assert_array_equal(pixels(here / "y.png"), pixels(here / "back.png"))


@pytest.mark.parametrize("flat", [False, True])
def test_a_batch_becomes_a_picture_for_each(vqtok, here, coded, flat):
    other = (coded + 1) % 64
    batch = np.stack([coded, other, coded])
    np.save(here / "x.npy", batch.reshape(3, -1) if flat else batch)
    command = ("decode", "x.npy", "-m", "image-f8", "--size", "21x37")
    made = vqtok(*command, "-o", "out/")
    assert made.exit_code == 0
    assert made.stdout.splitlines() == [f"out/x-{n}.recon.png" for n in range(3)]
    np.testing.assert_array_equal(pixels(here / "out/x-0.recon.png"), pixels(here / "back.png"))
    assert (pixels(here / "out/x-1.recon.png") != pixels(here / "back.png")).any()
    again = vqtok(*command, "-o", "out/")
    assert again.exit_code == 2 and "already exists" in again.stderr
    assert vqtok(*command, "-o", "out/", "--skip-existing").exit_code == 0
    assert vqtok(*command, "-o", "out/", "-f").exit_code == 0
    stream = vqtok(*command, "-o", "-", "--format", "png")
    assert stream.exit_code == 2 and "holds 3 items" in stream.stderr


def test_tokens_that_a_corpus_wrote_go_back_alone(vqtok, here):
    pictures(here / "d", 8)
    for number in range(8):  # of one size
        Image.fromarray(np.full((24, 40, 3), 30 * number, np.uint8)).save(
            here / "d" / f"{number:03d}.png"
        )
    assert vqtok("encode", "d", "-o", "c", "--format", "bin").exit_code == 0
    assert vqtok("decode", "c", "-o", "expected").exit_code == 0
    beside = vqtok("decode", "c/tokens.bin", "-o", "beside/")
    assert beside.exit_code == 0 and len(beside.stdout.splitlines()) == 8
    (here / "t.bin").write_bytes((here / "c" / "tokens.bin").read_bytes())
    refused = vqtok("decode", "t.bin", "-m", "image-f8")
    assert refused.exit_code == 1 and "--size HxW" in refused.stderr
    made = vqtok("decode", "t.bin", "-m", "image-f8", "--size", "24x40", "-o", "out/")
    assert made.exit_code == 0
    for number in range(8):
        expected = pixels(here / f"expected/{number:03d}.recon.png")
        np.testing.assert_array_equal(pixels(here / f"out/t-{number}.recon.png"), expected)
    sequences = np.fromfile(here / "t.bin", "<u2").reshape(8, -1)
    np.save(here / "some.npy", sequences[2:4])
    assert vqtok("decode", "some.npy", "-m", "image-f8", "--size", "24x40").exit_code == 0
    expected = pixels(here / "expected/003.recon.png")
    np.testing.assert_array_equal(pixels(here / "some-1.recon.png"), expected)
    facts = json.loads(vqtok("info", "t.bin", "-m", "image-f8", "--size", "24x40", "--json").stdout)
    assert (facts["items"], facts["tokens"]) == (8, 8 * 3 * 5)


@pytest.mark.parametrize("depth", [2, 3])
def test_tokens_of_recordings_say_their_lengths_and_stages(vqtok, here, depth):
    recordings(here / "d", 4)
    made = vqtok("encode", "d", "-o", "c", "--format", "bin", "--depth", depth, "--mono")
    assert made.exit_code == 0
    (here / "t.bin").write_bytes((here / "c" / "tokens.bin").read_bytes())
    assert vqtok("encode", "d", "-o", "codes/", "--depth", depth, "--mono").exit_code == 0
    assert vqtok("decode", "t.bin", "-m", "audio-24k", "-o", "out/").exit_code == 0
    for number in range(4):
        name = f"codes/{number:03d}.safetensors"
        from vqtok.codes import files

        codes, _ = files.read(here / name)
        np.save(here / "one.npy", codes.levels[0][0])
        back = vqtok("decode", "one.npy", "-m", "audio-24k", "-o", "one.wav", "-f")
        assert back.exit_code == 0
        assert (here / "one.wav").read_bytes() == (here / f"out/t-{number}.recon.wav").read_bytes()


def test_tokens_of_another_model_are_refused(vqtok, here):
    (here / "t.bin").write_bytes(np.arange(9, dtype="<u2").tobytes())
    refused = vqtok("decode", "t.bin", "-m", "image-f8", "--size", "8x8")
    assert refused.exit_code == 1 and "does not begin with BOS" in refused.stderr


def test_info_takes_the_model(vqtok, here, coded):
    np.save(here / "x.npy", np.stack([coded, coded]))
    told = vqtok("info", "x.npy", "-m", "image-f8")
    assert told.exit_code == 0
    assert "items:" in told.stdout and "image-f8" in told.stdout
    assert "without a vqtok header" in vqtok("info", "x.npy").stderr
    facts = json.loads(vqtok("info", "x.npy", "-m", "image-f8", "--json").stdout)
    assert (facts["items"], facts["tokens"]) == (2, 2 * coded.size)
    assert facts["bits_per_pixel"] == pytest.approx(6 / 64, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--size", "21x37"), "the codes of which model"),
        (("-m", "image-f8", "--size", "21"), "not the size of an original"),
        (("-m", "image-f8", "--size", "0x4"), "not the size of an original"),
    ],
)
def test_sizes_that_are_none(vqtok, here, coded, arguments, words):
    for command in ("decode", "info"):
        np.save(here / "x.npy", coded)
        refused = vqtok(command, "x.npy", *arguments)
        assert refused.exit_code == 2 and words in refused.stderr


def test_a_file_with_a_header_keeps_its_size(vqtok, here, coded):
    refused = vqtok("decode", "codes.npy", "-m", "image-f8", "--size", "20x37", "-o", "y.png")
    assert refused.exit_code == 1 and "its header says its size: 21x37" in refused.stderr


def test_an_array_from_a_pipe(vqtok, here, coded):
    whole = io.BytesIO()
    np.save(whole, coded.reshape(-1))
    command = ("decode", "-", "-m", "image-f8", "--size", "21x37", "-o", "y.png")
    assert vqtok(*command, input=whole.getvalue()).exit_code == 0
    np.testing.assert_array_equal(pixels(here / "y.png"), pixels(here / "back.png"))
