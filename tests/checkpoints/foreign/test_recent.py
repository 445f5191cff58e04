"""What was read for its facts is at hand when it is opened, if it is still the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.foreign.test_llamagen import made
from vqtok.checkpoints import foreign
from vqtok.checkpoints.foreign import _reading


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save({"model": made()}, tmp_path / "vq.pt")
    return tmp_path / "vq.pt"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    paths: list[Path] = []
    read = _reading.read

    def counted(path: Path) -> Any:
        paths.append(path)
        return read(path)

    monkeypatch.setattr(_reading, "read", counted)
    return paths


def test_facts_and_weights_take_one_reading(checkpoint: Path, reads: list[Path]):
    info = foreign.describe(checkpoint)
    assert foreign.describe(checkpoint) == info
    ours = foreign.open(checkpoint)
    assert ours.spec == info.spec
    assert foreign.describe(checkpoint) == info
    assert len(reads) == 1


def test_nobody_gets_a_tokenizer_that_somebody_else_has(checkpoint: Path):
    foreign.describe(checkpoint)
    assert foreign.open(checkpoint) is not foreign.open(checkpoint)


def test_a_checkpoint_that_was_written_anew_is_read_anew(checkpoint: Path):
    before = foreign.describe(checkpoint)
    held = checkpoint.stat().st_mtime_ns
    torch.save({"model": made(seed=1)}, checkpoint)
    os.utime(checkpoint, ns=(held + 1, held + 1))  # as large as before, a moment later
    assert foreign.open(checkpoint).spec.fingerprint != before.fingerprint
    assert foreign.describe(checkpoint).fingerprint != before.fingerprint


def test_a_file_in_a_directory_that_was_written_anew_is_noticed(tmp_path: Path, checkpoint: Path):
    before = foreign.describe(tmp_path)
    torch.save({"model": made(seed=1), "step": 2}, checkpoint)
    assert foreign.open(tmp_path).spec.fingerprint != before.fingerprint


def test_facts_of_another_checkpoint_let_the_first_go(tmp_path: Path, reads: list[Path]):
    for name in ("a.pt", "b.pt"):
        torch.save({"model": made()}, tmp_path / name)
        foreign.describe(tmp_path / name)
    foreign.open(tmp_path / "a.pt")
    assert [path.name for path in reads] == ["a.pt", "b.pt", "a.pt"]


def test_the_current_directory_is_part_of_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
):
    signs = set()
    for seed, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        torch.save({"model": made(seed)}, tmp_path / name / "vq.pt")
        monkeypatch.chdir(tmp_path / name)
        signs.add(foreign.describe(Path("vq.pt")).fingerprint)
    assert len(signs) == 2
