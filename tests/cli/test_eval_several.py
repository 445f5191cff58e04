"""``eval`` with several ``-m``: one table, classical codecs at the first model's bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.pictures import look

PSNR = ("--metrics", "psnr")


@pytest.fixture
def two(here: Path, shelf: Path) -> Path:
    """A second image model: a copy of the first, in a directory."""
    shutil.copytree(shelf / "image-f8", here / "other")
    return here / "other"


def test_one_table_has_a_row_for_each_model_and_codec(vqtok, picture, two):
    picture("d/a.png", width=200, height=160)
    picture("d/b.png", width=160, height=240)
    result = vqtok("eval", "d/", "-m", "image-f8", "-m", "other/", "-m", "jpeg", *PSNR)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["PSNR", "dB", "bits/pixel", "model", "file"]
    rows = [tuple(line.split()[-2:]) for line in lines[1:7]]
    names = ("image-f8", "other", "jpeg")
    assert rows == [(name, f"d/{file}.png") for file in "ab" for name in names]
    start = lines.index("2 images, mean ± sd")
    assert lines[start + 1].split()[-3:] == ["by", "entropy", "over"]
    assert [line.split()[0] for line in lines[start + 2 : start + 5]] == list(names)
    means = [line.split()[1] for line in lines[start + 2 : start + 4]]
    assert means[0] == means[1]  # the same weights
    assert "over: files that take more bits than the codes of image-f8" in lines


def test_json_names_the_model_of_each_line(vqtok, recording):
    recording("a.wav", length=9000)
    names = ("audio-24k", "opus", "mp3")
    flags = [flag for name in names for flag in ("-m", name)]
    result = vqtok("eval", "a.wav", *flags, "--metrics", "si-sdr", "--json")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["model"] for line in lines] == [*names, *names]
    assert [("summary" in line) for line in lines] == [False] * 3 + [True] * 3
    assert [line.get("over") for line in lines[3:]] == [None, 1, 1]


def test_each_model_keeps_its_reconstructions_in_a_folder_of_its_own(vqtok, picture, here, two):
    picture("d/a.png", width=40, height=30)
    flags = ("-m", "image-f8", "-m", "./other", "-m", "jpeg", "-o", "kept", *PSNR)
    assert vqtok("eval", "d/", *flags).exit_code == 0
    kept = sorted(str(path.relative_to(here)) for path in here.glob("kept/**/*.png"))
    folders = ("image-f8", "jpeg", "other")
    files = ("a.compare.png", "a.recon.png")
    assert kept == [f"kept/{folder}/{name}" for folder in folders for name in files]
    assert all(look(name).format == "PNG" for name in kept)
    again = vqtok("eval", "d/", *flags)
    assert again.exit_code == 2
    assert "already exists" in again.stderr
    assert vqtok("eval", "d/", *flags, "-f").exit_code == 0


def test_models_of_the_same_name_are_told_apart(vqtok, picture, here, shelf):
    shutil.copytree(shelf / "image-f8", here / "mine" / "image-f8")
    picture("a.png")
    result = vqtok("eval", "a.png", "-m", "image-f8", "-m", "mine/image-f8", "--json", *PSNR)
    names = [json.loads(line)["model"] for line in result.stdout.splitlines()]
    assert names == ["image-f8", "mine/image-f8"] * 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-m", "jpeg"], "-m jpeg: JPEG gets the bits of a model's codes"),
        (["-m", "audio-24k", "-m", "jpeg"], "-m jpeg: JPEG gets the bits"),
        (["-m", "image-f8", "-m", "image-f8"], "-m image-f8: named twice"),
        (["-m", "image-f8", "-m", "jpeg", "-m", "jpeg"], "-m jpeg: named twice"),
        (["-m", "image-f8", "-m", "nothing"], "nothing"),
        (["-m", "image-f8", "-m", "jpeg", "-o", "{stem}"], "several models need a directory"),
    ],
)
def test_what_cannot_be_compared_is_refused(vqtok, picture, flags, message):
    picture("a.png")
    result = vqtok("eval", "a.png", *flags, *PSNR)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_the_environment_names_one_model_even_with_blanks(vqtok, picture, two, here, monkeypatch):
    picture("a.png")
    two.rename(here / "my other")
    monkeypatch.setenv("VQTOK_MODEL", "my other")
    result = vqtok("eval", "a.png", *PSNR)
    assert result.exit_code == 0, result.stderr
    assert "1 image, my other (" in result.stdout


def test_a_recording_beside_an_image_model_is_that_files_failure(vqtok, picture, recording):
    picture("d/a.png", width=100, height=100)
    recording("d/b.wav")
    result = vqtok("eval", "d/", "-m", "image-f8", "-m", "jpeg", *PSNR)
    assert result.exit_code == 1
    assert "Error: d/b.wav: none of the models is for audio files" in result.stderr
    assert "1 image, mean ± sd" in result.stdout
