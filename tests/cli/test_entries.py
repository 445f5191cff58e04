"""Entries of folders, lists and tars that cannot be looked at: a line each, the rest is done."""

from __future__ import annotations

import socket
import tarfile
from pathlib import Path

import pytest

from tests.training.conftest import IMAGE_EDITS


@pytest.fixture
def folder(here: Path, picture) -> str:
    """Two pictures, a link to itself, a link that leads nowhere, and a socket."""
    for name in ("d/a.png", "d/z.png"):
        picture(name)
    (here / "d/self").symlink_to("self")
    (here / "d/gone.png").symlink_to("nowhere/x.png")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("d/socket.png")
    return "d"


REASONS = (
    ("d/self", "cannot read: too many levels of symbolic links"),
    ("d/socket.png", "not a regular file"),
    ("d/gone.png", "no such file or directory"),
)


def check(result) -> None:
    assert result.exit_code == 1, result.stderr
    assert "internal" not in result.stderr
    for subject, reason in REASONS:
        lines = [line for line in result.stderr.splitlines() if subject in line]
        assert len(lines) == 1
        assert reason in lines[0]


def test_encode_does_the_others(vqtok, here, folder):
    check(vqtok("encode", folder, "-o", "out/"))
    assert sorted(path.name for path in (here / "out").iterdir()) == [
        "a.safetensors",
        "z.safetensors",
    ]


def test_eval_does_the_others(vqtok, folder):
    result = vqtok("eval", folder, "--metrics", "psnr")
    check(result)
    assert "2 images" in result.stdout


@pytest.mark.parametrize("format", ["files", "tar", "bin", "parquet"])
def test_a_corpus_holds_the_others(vqtok, here, folder, format):
    if format == "parquet":
        pytest.importorskip("pyarrow")
    result = vqtok("encode", folder, "--format", format, "-o", "corpus/")
    check(result)
    assert "2 images" in vqtok("info", "corpus").stdout or "corpus: 2 images" in result.stderr
    assert len((here / "corpus/failed.jsonl").read_text().splitlines()) == 3


def test_decode_does_the_others(vqtok, here, picture):
    picture("a.png")
    assert vqtok("encode", "a.png", "-o", "codes/").exit_code == 0
    (here / "codes/self").symlink_to("self")
    result = vqtok("decode", "codes", "-o", "out/")
    assert result.exit_code == 1
    assert "Error: codes/self: cannot read: too many levels of symbolic links" in result.stderr
    assert (here / "out/a.recon.png").exists()


def test_info_describes_the_others(vqtok, here, picture):
    picture("a.png")
    (here / "self.png").symlink_to("self.png")
    long = "x" * 300
    result = vqtok("info", "self.png", long, "a.png")
    assert result.exit_code == 1
    assert "a.png\n" in result.stdout
    assert result.stderr.splitlines() == [
        "Error: self.png: cannot read: too many levels of symbolic links",
        f"Error: {long}: file name too long",
    ]


def test_training_goes_on_with_the_others_and_says_so(vqtok, folder):
    small = [word for edit in (*IMAGE_EDITS, "train.workers=0") for word in ("--set", edit)]
    result = vqtok("train", "--data", folder, "-o", "m", "--preset", "image-f8-small", "-n", *small)
    assert result.exit_code == 1, result.stderr
    for subject in ("d/self: cannot read", "d/socket.png: not a regular file"):
        assert subject in result.stderr
    assert "output" in result.stdout


def test_a_tar_with_such_members_gives_the_others(vqtok, here, picture):
    picture("a.png")
    with tarfile.open("x.tar", "w") as made:
        made.add("a.png")
        for name, kind in (("loop.png", tarfile.SYMTYPE), ("pipe.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, name
            made.addfile(info)
    result = vqtok("encode", "x.tar", "--format", "tar", "-o", "corpus/")
    assert result.exit_code == 1
    assert "corpus: 1 images" in result.stderr
    assert "x.tar/loop.png: a link to" in result.stderr
    assert "x.tar/pipe.png: not a plain file" in result.stderr
