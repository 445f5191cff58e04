"""``hf:ORG/NAME``: from the cache if it is there, else by the library; never unasked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from tests.tokenizers.published import sound, tiny
from vqtok.checkpoints import directory, hub
from vqtok.errors import CheckpointError, UsageError


class Hub:
    """The two functions of the library that are used, over a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path, files: dict[str, Any]) -> None:
        self.cache, self.files, self.asked = cache, files, []  # type: ignore[var-annotated]
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)
        monkeypatch.setattr(huggingface_hub, "list_repo_files", self.list_repo_files)

    def list_repo_files(self, repo_id: str, revision: str | None) -> list[str]:
        self.asked.append(("list", repo_id, revision))
        return list(self.files)

    def snapshot_download(
        self,
        repo_id: str,
        revision: str | None,
        local_files_only: bool = False,
        allow_patterns: list[str] | None = None,
    ) -> str:
        if local_files_only:
            raise FileNotFoundError("not in the cache")
        self.asked.append(("download", repo_id, tuple(allow_patterns or ())))
        place = self.cache / f"models--{repo_id.replace('/', '--')}" / "snapshots" / "0a1b2c"
        place.mkdir(parents=True)
        for name in allow_patterns or ():
            if name in self.files:
                (place / name).write_bytes(self.files[name])
        return str(place)


@pytest.fixture
def shelf(tmp_path: Path) -> dict[str, bytes]:
    directory.save(tmp_path / "m", tiny("dac"))
    files = {each.name: each.read_bytes() for each in (tmp_path / "m").iterdir()}
    return files | {"pytorch_model.bin": b"the same again", "README.md": b"a card"}


def test_a_named_model_is_downloaded_once_in_one_format_and_named_after_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelf: dict[str, bytes]
):
    remote = Hub(monkeypatch, tmp_path / "cache", shelf)
    model: Any = directory.load("hf:some/codec")
    assert remote.asked == [
        ("list", "some/codec", None),
        ("download", "some/codec", ("config.json", "model.safetensors")),
    ]
    assert model.name == "codec"
    model.encode(sound(100)).check()


@pytest.mark.slow
def test_what_the_cache_holds_is_used_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The real library, offline, over a cache as it lays it out."""
    home = tmp_path / "hub" / "models--some--codec"
    directory.save(home / "snapshots" / "0a1b2c", tiny("dac"))
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0a1b2c")
    code = (
        "import sys; from vqtok.checkpoints import directory; "
        "model = directory.load('hf:some/codec'); print(model.name, model.spec.fingerprint)"
    )
    environment = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "PATH": ""}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    sign = directory.fingerprint(home / "snapshots" / "0a1b2c")
    assert result.stdout.split() == ["codec", sign]


def test_codes_cannot_make_anyone_reach_for_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelf: dict[str, bytes]
):
    monkeypatch.setenv("VQTOK_MODELS", str(tmp_path / "none"))
    remote = Hub(monkeypatch, tmp_path / "cache", shelf)
    assert directory.find("0" * 16, name="hf:some/codec") is None
    assert remote.asked == []


@pytest.mark.parametrize("name", ["hf:", "hf:mimi", "hf:a/b/c", "hf:../x", "hf:a b/c", "hf:é/x"])
def test_what_is_no_name_is_refused(name: str):
    with pytest.raises(UsageError, match="not the name of a model"):
        hub.fetch(name)


def test_failures_of_the_network_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelf: dict[str, bytes]
):
    remote = Hub(monkeypatch, tmp_path / "cache", shelf)

    def fail(**place: Any) -> list[str]:
        raise OSError("no route\nto anywhere")

    monkeypatch.setattr(huggingface_hub, "list_repo_files", fail)
    with pytest.raises(CheckpointError, match=r"cannot download: no route$"):
        hub.fetch("hf:some/codec")
    assert remote.asked == []


def test_a_repository_without_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Hub(monkeypatch, tmp_path / "cache", {"README.md": b"", "model.onnx": b""})
    with pytest.raises(CheckpointError, match="no weights"):
        hub.fetch("hf:some/words")


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match="huggingface_hub") as caught:
        hub.fetch("hf:some/codec")
    assert caught.value.hint == "pip install 'vqtok[hf]'"
