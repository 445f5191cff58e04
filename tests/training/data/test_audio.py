"""Windows of recordings: short ones from memory, long ones from the file, always the same."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vqtok.errors import MediaError
from vqtok.training.data import audio
from vqtok.training.data.dataset import Dataset
from vqtok.training.data.media import media_dataset
from vqtok.training.recipe import Train

RATE = 8000
PLAN = Train(losses={}, batch=4, window=2000, seed=3, workers=0, gain_db=0.0)


def sounds(folder: Path, plan: Train = PLAN, *, rate: int = RATE) -> Dataset:
    return media_dataset(sorted(folder.iterdir()), kind="audio", recipe=plan, rate=rate)


def ramp(path: Path, seconds: float, **context: str) -> np.ndarray:
    """Samples that tell where they are: the value says how far on."""
    samples = np.linspace(-0.9, 0.9, int(seconds * RATE)).astype(np.float32)
    soundfile.write(path, samples, RATE, **context)
    return samples


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "PCM_16"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS")]
)
def test_windows_of_a_long_recording_are_parts_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, subtype: str
) -> None:
    monkeypatch.setattr(audio, "LONG_S", 2.0)
    whole = ramp(tmp_path / name, 5.0, subtype=subtype)
    batch = sounds(tmp_path).batch(0).values[:, 0].numpy()
    starts = set()
    for each in batch:
        start = int(np.argmin(np.abs(whole - each[0])))
        starts.add(start)
        found = np.abs(whole[: len(whole) - 1999][:, None] - each[0]).argmin()
        np.testing.assert_allclose(each, whole[found : found + 2000], atol=0.05)
    assert len(starts) > 1


@pytest.mark.parametrize("format", ["MP3", "FLAC"])
def test_the_cache_changes_nothing_of_long_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr(audio, "LONG_S", 2.0)
    noise = np.random.default_rng(0).normal(0, 0.1, 6 * RATE)
    soundfile.write(tmp_path / f"a.{format.lower()}", noise, RATE, format=format)
    for rate in (RATE, 11025):
        kept, read = (
            sounds(tmp_path, replace(PLAN, cache_gb=room), rate=rate) for room in (1.0, 0.0)
        )
        for step in range(3):
            assert torch.equal(kept.batch(step).values, read.batch(step).values)
            assert torch.equal(kept.batch(step).values, read.batch(step).values)  # now cached


def test_a_damaged_part_of_a_long_recording_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "LONG_S", 2.0)
    samples = np.full(8 * RATE, 0.25, dtype=np.float32)
    samples[4 * RATE :] = np.nan
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data/a.wav", samples, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "data/b.wav", 2 * samples[: 3 * RATE], RATE, subtype="FLOAT")
    data = sounds(tmp_path / "data")
    first = [data.batch(step).values for step in range(6)]
    values = torch.cat(first).unique()
    assert values.min() > 0.24  # from a.wav, before the damage
    assert values.max() > 0.49
    assert list(data.unreadable) == [str(tmp_path / "data/a.wav")]
    fresh = sounds(tmp_path / "data")
    for step in reversed(range(6)):  # what went wrong before must not matter
        assert torch.equal(fresh.batch(step).values, first[step])


def test_hours_cost_no_more_memory_than_seconds(tmp_path: Path) -> None:
    for i in range(3):
        with soundfile.SoundFile(tmp_path / f"{i}.flac", "w", RATE, 1, "PCM_16") as file:
            for _ in range(60):
                file.write(np.zeros(20 * RATE))  # 20 minutes, 19 MB as int16
    data = sounds(tmp_path, replace(PLAN, batch=16))
    data.batch(0)
    tracemalloc.start()
    data.batch(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6


def test_a_long_recording_is_drawn_more_often(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.full(9 * RATE, 0.5), RATE)
    soundfile.write(tmp_path / "short.wav", np.full(1 * RATE, 0.1), RATE)
    values = sounds(tmp_path, replace(PLAN, batch=200, window=10)).batch(0).values
    share = float((values > 0.3).all(2).float().mean())
    assert 0.83 < share < 0.97  # 0.9 is meant; 200 draws


def test_a_short_recording_is_followed_by_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(500, 0.5), RATE)
    values = sounds(tmp_path).batch(0).values
    assert values[..., :500].min() > 0.49
    assert values[..., 500:].abs().max() == 0.0


def test_recordings_that_cannot_be_read_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF....WAVE")
    with pytest.raises(MediaError, match="none of the 1 files"):
        sounds(tmp_path)
    soundfile.write(tmp_path / "b.wav", np.full(5000, 0.5), RATE)
    data = sounds(tmp_path)
    assert data.batch(0).values.min() > 0.49
    assert list(data.unreadable) == [str(tmp_path / "a.wav")]
