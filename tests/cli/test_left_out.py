"""What a directory holds besides is counted by every command, and named with -v."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.training.conftest import IMAGE_EDITS

FLAGS = {
    "encode": ("-o", "out/"),
    "encode --format tar": ("-o", "corpus/"),
    "encode --dry-run": (),
    "eval": (),
}


@pytest.fixture
def folder(here: Path, picture) -> Path:
    picture("d/a.jfif", format="JPEG")
    picture("d/b", format="PNG")
    (here / "d/notes.txt").write_text("words")
    (here / "d/deep").mkdir()
    (here / "d/deep/more.txt").write_text("words")
    (here / "d/codes.npy").write_bytes(b"\x93NUMPY")
    return Path("d")


@pytest.mark.parametrize("command", FLAGS)
def test_what_is_left_out_is_counted_and_listed_if_asked(vqtok, folder: Path, command: str) -> None:
    run = (*command.split(), folder, *FLAGS[command])
    result = vqtok(*run)
    assert result.exit_code == 0, result.stderr
    assert "left out 3 files: 2 .txt, 1 codes (-v lists them)\n" in result.stderr
    assert "notes.txt" not in result.stderr
    result = vqtok(*run, "-v", *(["-f"] if "-o" in run else []))
    lines = result.stderr.splitlines()
    named = [line for line in lines if line.startswith("left out: ")]
    assert named == [f"left out: d/{name}" for name in ("codes.npy", "deep/more.txt", "notes.txt")]
    assert "left out 3 files: 2 .txt, 1 codes" in lines


def test_nothing_left_out_is_not_spoken_of(vqtok, here: Path, picture) -> None:
    picture("d/a.png")
    assert "left out" not in vqtok("encode", "d", "-o", "out/").stderr


def test_decode_counts_it_too(vqtok, folder: Path) -> None:
    (folder / "codes.npy").unlink()
    assert vqtok("encode", folder, "-o", "d/").exit_code == 0
    result = vqtok("decode", folder, "-o", "back/")
    assert "left out 4 files: 2 .txt, 2 image (-v" in result.stderr


def test_training_counts_it_too(vqtok, folder: Path) -> None:
    small = [word for edit in IMAGE_EDITS for word in ("--set", edit)]
    result = vqtok("train", "--data", folder, "-o", "run", "--dry-run", *small)
    assert "left out: 1 .npy, 2 .txt" in result.stderr


def many_pages(path: Path) -> None:
    pages = [Image.new("RGB", (16, 8), colour) for colour in ("red", "green", "blue")]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def deep_and_transparent(path: Path) -> None:
    samples = np.full((8, 16, 4), 30000, np.uint16)
    tifffile.imwrite(path, samples, photometric="rgb", extrasamples=["unassalpha"], metadata=None)


@pytest.mark.parametrize(
    ("name", "make", "notes"),
    [
        ("a.tif", many_pages, ["1 of 3 pages is taken"]),
        ("a.gif", many_pages, ["1 of 3 frames is taken"]),
        ("a.webp", many_pages, ["1 of 3 frames is taken"]),
        ("a.png", many_pages, ["1 of 3 frames is taken"]),
        ("a.avif", many_pages, ["1 of 3 frames is taken"]),
        (
            "a.tiff",
            deep_and_transparent,
            ["16 bits per sample come back as 8", "transparency is laid over the background"],
        ),
    ],
)
def test_what_a_file_loses_is_told_if_asked(vqtok, here: Path, name: str, make, notes) -> None:
    make(here / name)
    line = f"{name}: {'; '.join(notes)}\n"
    assert line in vqtok("encode", name, "-o", "a.npy", "-v").stderr
    assert line not in vqtok("encode", name, "-o", "b.npy").stderr
    assert line in vqtok("encode", name, "--format", "tar", "-o", "corpus/", "-v").stderr
    told = vqtok("info", name).stdout
    assert "left out" in told
    assert notes[0] in told
    assert json.loads(vqtok("info", name, "--json").stdout)["left_out"] == notes
    assert json.loads(vqtok("encode", name, "-o", "c.npy", "--json").stdout)["left_out"] == notes


def test_a_plain_file_loses_nothing(vqtok, here: Path, picture) -> None:
    picture("a.png")
    assert "left out" not in vqtok("info", "a.png").stdout
    assert "left_out" not in json.loads(vqtok("encode", "a.png", "-o", "a.npy", "--json").stdout)
