"""A checkpoint of another program is large: whatever a command asks of it, it is read once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.foreign.test_llamagen import made
from vqtok.checkpoints.foreign import _reading


@pytest.fixture
def reads(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths in the order in which they were read, beside a checkpoint ``vq.pt``."""
    torch.save({"model": made()}, here / "vq.pt")
    paths: list[Path] = []
    read = _reading.read

    def counted(path: Path) -> Any:
        paths.append(path)
        return read(path)

    monkeypatch.setattr(_reading, "read", counted)
    return paths


def test_encode_reads_a_checkpoint_once(vqtok, picture, reads):
    picture("a.png")
    assert vqtok("encode", "a.png", "-m", "vq.pt").exit_code == 0
    assert reads == [Path("vq.pt")]


def test_decode_reads_a_checkpoint_once(vqtok, picture, reads):
    picture("a.png")
    vqtok("encode", "a.png", "-m", "vq.pt", "-o", "a.safetensors")
    shutil.copy("vq.pt", "other.pt")
    reads.clear()
    assert vqtok("decode", "a.safetensors", "-m", "other.pt").exit_code == 0
    assert reads == [Path("other.pt")]


def test_eval_reads_a_checkpoint_once(vqtok, picture, reads):
    picture("a.png")
    assert vqtok("eval", "a.png", "-m", "vq.pt").exit_code == 0
    assert reads == [Path("vq.pt")]


def test_a_corpus_of_codes_reads_a_checkpoint_once(vqtok, picture, reads):
    picture("a.png")
    picture("b.png")
    assert vqtok("encode", "a.png", "b.png", "-m", "vq.pt", "-o", "codes/").exit_code == 0
    assert reads == [Path("vq.pt")]
