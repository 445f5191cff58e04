"""What is said of the data: true, and from headers alone."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from vqtok.media.items import items_of
from vqtok.training.data import survey as module
from vqtok.training.data.survey import survey


def test_images_have_sizes(tmp_path: Path):
    sizes = [(10, 20), (40, 30), (5, 5)]
    for index, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    found = survey(sorted(tmp_path.iterdir()), "image").to_json(labels=("cat", "dog"))
    assert found == {
        "kind": "image", "files": 4, "labels": ["cat", "dog"], "probed": 3,
        "smallest": [5, 5], "median": [20, 10], "largest": [30, 40],
    }  # fmt: skip


def test_recordings_have_durations_and_rates(tmp_path: Path):
    for index, (rate, length) in enumerate([(8000, 8000), (16000, 32000), (8000, 24000)]):
        soundfile.write(tmp_path / f"{index}.wav", np.zeros(length), rate)
    found = survey(sorted(tmp_path.iterdir()), "audio").to_json()
    assert found["rates"] == [8000, 16000]
    assert (found["shortest_s"], found["median_s"], found["longest_s"]) == (1.0, 2.0, 3.0)
    assert found["hours"] == pytest.approx(6.0 / 3600)


def test_hours_of_many_files_are_estimated_from_some(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "SURVEYED", 10)
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 8000)
    found = survey([tmp_path / "a.wav"] * 95, "audio").to_json()
    assert found["probed"] <= 10
    assert found["hours"] == pytest.approx(95 * 2.0 / 3600)


def test_members_of_tars_are_read_in_place(tmp_path: Path):
    picture = io.BytesIO()
    Image.new("RGB", (7, 9)).save(picture, "PNG")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(picture.getvalue())
        archive.addfile(info, io.BytesIO(picture.getvalue()))
    places = [item.place for item in items_of([str(tmp_path / "shard.tar")], ("image",))]
    assert survey(places, "image").to_json()["median"] == [9, 7]


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_nothing_readable_is_said_to_be_nothing(tmp_path: Path, kind: str):
    assert survey([], kind).to_json()["probed"] == 0
    assert survey([tmp_path / "gone.png"], kind).to_json()["probed"] == 0
