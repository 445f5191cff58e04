"""Which model works on which file."""

from __future__ import annotations

import shutil

import pytest

from vqtok.codes.header import Header
from vqtok.errors import CheckpointError, CodesError, MediaError, UsageError
from vqtok.pipeline.models import Models


@pytest.fixture
def place(tmp_path, shelf, monkeypatch):
    monkeypatch.setattr("vqtok.checkpoints.registry.search_path", lambda: [shelf, tmp_path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_name_the_kind_chooses(place):
    models = Models()
    assert models.info_for_kind("image").name == "image-f8"
    assert models.info_for_kind("audio").name == "audio-24k"


def test_a_named_model_is_refused_for_another_kind(place):
    with pytest.raises(MediaError, match="model audio-24k is for audio, not for images"):
        Models("audio-24k").info_for_kind("image")


def test_the_fingerprint_finds_a_model_that_was_renamed(place, shelf):
    shutil.copytree(shelf / "image-f8", place / "renamed")
    info = Models().info_for_kind("image")
    header = Header(info.spec, (8, 8), model="a name of long ago")
    assert Models().info_for_header(header).fingerprint == info.fingerprint
    assert Models("renamed").info_for_header(header).name == "renamed"


def test_a_fingerprint_of_nobody_is_refused(place):
    spec = Models().info_for_kind("image").spec.with_fingerprint("0" * 16)
    with pytest.raises(CodesError, match="made by model gone"):
        Models().info_for_header(Header(spec, (8, 8), model="gone"))
    with pytest.raises(CodesError, match="made with model gone"):
        Models("image-f8").info_for_header(Header(spec, (8, 8), model="gone"))


def test_each_model_is_loaded_once_and_announced(place):
    seen = []
    models = Models(device="cpu", on_load=lambda info: seen.append(info.name))
    info = models.info_for_kind("image")
    assert models.load(info) is models.load(models.info_for_kind("image"))
    assert seen == ["image-f8"]


def test_check_finds_what_would_fail_for_every_input(place, monkeypatch):
    Models().check({"image", "audio"})
    with pytest.raises(UsageError, match="unknown model"):
        Models("nothing").check()
    monkeypatch.setattr("vqtok.checkpoints.registry.search_path", list)
    with pytest.raises(CheckpointError, match="image-f8: the default model"):
        Models().check({"image"})


def test_a_missing_default_of_one_kind_leaves_the_other(place, shelf, monkeypatch):
    shutil.copytree(shelf / "image-f8", place / "only" / "image-f8")
    monkeypatch.setattr("vqtok.checkpoints.registry.search_path", lambda: [place / "only"])
    models = Models()
    models.check({"image", "audio"})
    assert models.info_for_kind("image").name == "image-f8"
    with pytest.raises(CheckpointError, match="audio-24k"):
        models.info_for_kind("audio")
