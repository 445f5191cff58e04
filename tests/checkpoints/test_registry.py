"""Names: where models are looked for, in which order, and what is said if there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.programs import run
from vqtok.checkpoints import directory, registry
from vqtok.errors import CheckpointError, UsageError

Build = Callable[..., Any]


def test_the_search_path_is_in_the_promised_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("VQTOK_MODELS", os.pathsep.join(["/a", "", "/b"]))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = registry.search_path()
    assert found[:4] == [Path("/a"), Path("/b"), Path("models"), tmp_path / "vqtok" / "models"]
    package = Path(registry.__file__).parents[1]
    assert found[4:] == [package / "models", package.parent / "models"]


def test_without_a_home_the_other_folders_are_searched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", lambda self: _no_home())
    assert Path("models") in registry.search_path()


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_the_first_folder_with_a_name_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Build
):
    first, second = tmp_path / "first", tmp_path / "second"
    directory.save(first / "a", tiny(1))
    for name in ("a", "b"):
        directory.save(second / name, tiny(2))
    monkeypatch.setattr(registry, "search_path", lambda: [first, tmp_path / "none", second])
    assert registry.available() == {"a": first / "a", "b": second / "b"}
    assert [info.path for info in registry.names()] == [first / "a", second / "b"]
    assert registry.resolve("a") == first / "a"


def test_a_model_behind_another_of_its_name_is_found_by_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Build
):
    folders = [tmp_path / "first", tmp_path / "second"]
    for seed, folder in enumerate(folders):
        directory.save(folder / "a", tiny(seed))
    monkeypatch.setattr(registry, "search_path", lambda: folders)
    for folder in folders:
        found = registry.find(directory.fingerprint(folder / "a"), name="a")
        assert found is not None
        assert found.path == folder / "a"
    assert registry.find("0" * 16, name="a") is None


def test_a_model_in_the_current_directory_is_found_by_name(
    models: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    mine = models.parent / "cwd" / "mine"
    shutil.move(saved, mine)
    assert registry.resolve("mine") == Path("mine")
    found = registry.find(directory.fingerprint(mine), name="mine")
    assert found is not None
    assert found.name == "mine"


def test_a_damaged_neighbour_hides_no_sound_model(models: Path, saved: Path):
    shutil.copytree(saved, models / "damaged")
    (models / "damaged" / "model.safetensors").write_bytes(b"")
    (models / "empty").mkdir()
    assert [info.name for info in registry.names()] == ["tiny"]
    _, errors = registry.survey()
    assert len(errors) == 1
    assert "damaged" in str(errors[0])
    assert registry.find(directory.fingerprint(saved)) is not None


def test_an_unknown_name_gets_the_near_one(saved: Path):
    with pytest.raises(UsageError, match="'tinny': unknown model") as told:
        registry.resolve("tinny")
    assert told.value.hint == "did you mean tiny? `vqtok models` lists all"
    with pytest.raises(UsageError) as told:
        registry.resolve("zzz")
    assert told.value.hint == "`vqtok models` lists all"
    with pytest.raises(UsageError):
        registry.resolve("")


def test_paths_that_are_no_models_say_what_they_are(saved: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="no such model directory"):
        registry.resolve(str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match=r"not a model directory: no config\.json"):
        registry.resolve(str(tmp_path))
    with pytest.raises(CheckpointError, match="a file, not a model directory") as told:
        registry.resolve(str(saved / "model.safetensors"))
    assert told.value.hint == f"pass -m {saved}"


def test_the_facts_are_those_of_the_loaded_model(saved: Path):
    info, model = directory.describe("tiny"), directory.load("tiny")
    stored = [
        tensor for name, tensor in model.state_dict().items() if "learning" not in name.split(".")
    ]
    assert info.parameters == sum(each.numel() for each in stored)
    assert info.spec == model.spec
    assert info.training == {"steps": 3}
    assert info.size_bytes == (saved / "model.safetensors").stat().st_size
    assert info.config["type"] == "tokenizers/vqvae"


def test_the_fingerprint_follows_content_and_not_layout(saved: Path, models: Path, tiny: Build):
    before = directory.fingerprint(saved)
    path = saved / "config.json"
    path.write_text(path.read_text().replace("\n", " \n "))
    (saved / "README.md").write_text("other")
    assert directory.fingerprint(saved) == before
    directory.save(models / "other", tiny(1))
    assert directory.fingerprint(models / "other") != before


def test_names_and_facts_need_no_torch(saved: Path):
    program = (
        "import sys; from vqtok.checkpoints import directory as d; d.names(); d.available()\n"
        "d.describe(sys.argv[1]); d.fingerprint(d.resolve(sys.argv[1])); d.find('0' * 16)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert run(program, str(saved)).returncode == 0
