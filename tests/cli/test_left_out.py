"""What a directory holds besides is counted by every command, and named with -v."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    result = vqtok("train", "--data", folder, "-o", "run", "--dry-run")
    assert "left out: 1 .npy, 2 .txt" in result.stderr
