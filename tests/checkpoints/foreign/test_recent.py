"""What was read of a checkpoint for its facts is loaded without reading it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.foreign.test_llamagen import made
from vqtok.checkpoints import directory, foreign, registry
from vqtok.checkpoints.foreign import _reading
from vqtok.errors import CheckpointError


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
    info = directory.describe(checkpoint)
    assert directory.load(info).spec == info.spec
    assert reads == [checkpoint]


def test_nobody_gets_a_tokenizer_that_somebody_else_has(checkpoint: Path, reads: list[Path]):
    info = directory.describe(checkpoint)
    assert directory.load(info) is not directory.load(info)
    assert len(reads) == 2


def test_a_checkpoint_that_was_written_anew_is_read_anew(checkpoint: Path):
    before = foreign.describe(checkpoint)
    torch.save({"model": made(seed=1)}, checkpoint)
    assert foreign.open(checkpoint).spec.fingerprint != before.fingerprint
    assert foreign.describe(checkpoint).fingerprint != before.fingerprint


def test_facts_of_many_checkpoints_hold_none_of_them(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(registry, "search_path", lambda: [tmp_path.parent])
    found = [info for info in registry.names() if info.path == tmp_path]
    assert [info.read.open for info in found] == [None]


def test_facts_are_known_without_building_the_network(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    built = foreign.open(checkpoint)

    def refuse(config: object, **context: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr(type(built.config), "build", refuse)
    info = directory.describe(checkpoint)
    assert info.spec == built.spec
    assert info.parameters == sum(each.numel() for each in built.state_dict().values())
    with pytest.raises(CheckpointError, match="cannot be built: built"):
        directory.load(info)
