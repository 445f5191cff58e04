"""What a codes file calls its model chooses among models that are here; it opens nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.foreign.test_rosinality import made
from vqtok.checkpoints import directory, foreign, registry

Build = Callable[..., Any]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What other programs' checkpoints are opened."""
    seen: list[Path] = []
    read = foreign.read

    def noted(path: Path) -> Any:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(foreign, "read", noted)
    return seen


def strangers(folder: Path) -> str:
    """A checkpoint as a file, in a directory and in a directory with a config; its fingerprint."""
    folder.mkdir(exist_ok=True)
    torch.save(made(), folder / "x.ckpt")
    for name in ("plain", "with-config"):
        (folder / name).mkdir()
        shutil.copy(folder / "x.ckpt", folder / name)
    (folder / "with-config" / "config.json").write_text("{}")
    return directory.describe(folder / "x.ckpt").fingerprint


@pytest.mark.parametrize("name", ["x.ckpt", "plain", "with-config", "./x.ckpt", "../cwd/x.ckpt"])
def test_a_checkpoint_of_another_program_is_not_opened_by_name(
    models: Path, opened: list[Path], name: str
):
    sign = strangers(Path())
    opened.clear()
    assert registry.find(sign, name=name) is None
    assert registry.find(sign, name=str(Path(name).resolve())) is None
    assert opened == []


@pytest.mark.parametrize("name", ["../elsewhere", "..", ".", "", "a/../../elsewhere", "hf:a/b", "~",
                                  "elsewhere/", "\0", "x" * 5000, "/dev/stdin"])  # fmt: skip
def test_a_path_is_no_name(models: Path, tiny: Build, name: str):
    mine = models.parent / "elsewhere"
    directory.save(mine, tiny())
    sign = directory.fingerprint(mine)
    assert registry.find(sign, name=name) is None
    assert registry.find(sign, name=str(mine)) is None


def test_a_model_on_the_search_path_and_one_beside_are_found(models: Path, tiny: Build):
    beside = models.parent / "beside"
    directory.save(models / "a", tiny(1))
    directory.save(beside / "b", tiny(2))
    found = registry.find(directory.fingerprint(models / "a"), name="a")
    assert found is not None and found.path == models / "a"
    sign = directory.fingerprint(beside / "b")
    assert registry.find(sign, name="b") is None
    found = registry.find(sign, name="b", folders=(Path(), beside))
    assert found is not None and found.path == beside / "b"
