"""An excerpt is that part of the recording, the same every time, and nothing else is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from vqtok.errors import MediaError
from vqtok.media import audio
from vqtok.media.audio.excerpt import excerpt, glance

RATE, SECONDS = 8000, 12
ENCODINGS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rising tone with noise, stereo, in every encoding."""
    folder = tmp_path_factory.mktemp("recordings")
    t = np.arange(RATE * SECONDS) / RATE
    noise = np.random.default_rng(0).normal(0, 0.02, len(t))
    left = 0.4 * np.sin(2 * np.pi * (100 + 80 * t) * t) + noise
    samples = np.stack([left, 0.5 * left[::-1]], axis=1).astype(np.float32)
    for suffix, (format, subtype) in ENCODINGS.items():
        path = folder / f"a.{suffix}"
        with soundfile.SoundFile(path, "w", RATE, 2, subtype, format=format) as file:
            for start in range(0, len(samples), 4096):
                file.write(samples[start : start + 4096])
    return folder


@pytest.mark.parametrize("suffix", ENCODINGS)
@settings(max_examples=12, deadline=None)
@given(
    start=st.integers(0, 15 * 12000),
    length=st.integers(1, 12000),
    rate=st.sampled_from([8000, 12000, 11025, 6000]),
)
def test_an_excerpt_is_that_part_of_the_whole(
    recordings: Path, suffix: str, start: int, length: int, rate: int
) -> None:
    path = recordings / f"a.{suffix}"
    whole, info = audio.read(path, rate=rate)
    part = whole[:, start : start + length]
    try:
        found = excerpt(path, rate=rate, start=start, length=length)
    except MediaError:
        assert start * RATE >= info.length * rate  # there is nothing to be found
        return
    assert found.dtype == np.float32
    assert found.shape == part.shape
    # Opus starts anew at the excerpt: 0.0017 was seen. The rest is the filter's rounding.
    np.testing.assert_allclose(found, part, atol=0.01 if suffix == "opus" else 1e-4)
    again = excerpt(path, rate=rate, start=start, length=length)
    np.testing.assert_array_equal(again, found)


def test_the_rest_of_the_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(0).normal(0, 0.1, 60 * RATE)
    soundfile.write(path, noise, RATE)
    read = 0

    class Counting:
        name = "counting"

        def __init__(self) -> None:
            self._file = path.open("rb")
            self.seek, self.tell, self.seekable = (
                self._file.seek,
                self._file.tell,
                self._file.seekable,
            )

        def read(self, size: int = -1) -> bytes:
            nonlocal read
            data = self._file.read(size)
            read += len(data)
            return data

    source = Counting()
    found = excerpt(source, rate=RATE, start=30 * RATE, length=RATE)  # type: ignore[arg-type]
    source._file.close()
    np.testing.assert_allclose(found[0], noise[30 * RATE : 31 * RATE], atol=1e-4)
    assert read < path.stat().st_size / 4


def test_a_glance_tells_what_a_probe_does(recordings: Path) -> None:
    for suffix in ENCODINGS:
        seen, probed = (look(recordings / f"a.{suffix}") for look in (glance, audio.probe))
        assert (seen.rate, seen.channels, seen.format) == (
            probed.rate,
            probed.channels,
            probed.format,
        )
        assert abs(seen.length - probed.length) <= (4 * 1152 if suffix == "mp3" else 0)


def test_samples_that_are_no_numbers_are_found_where_they_are(tmp_path: Path) -> None:
    samples = np.zeros(4 * RATE, dtype=np.float32)
    samples[2 * RATE] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    excerpt(tmp_path / "a.wav", rate=RATE, start=0, length=RATE)
    with pytest.raises(MediaError, match=r"nan at 2\.000 s"):
        excerpt(tmp_path / "a.wav", rate=RATE, start=2 * RATE, length=RATE)


def test_what_is_no_audio_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "b.wav").write_bytes(b"")
    soundfile.write(tmp_path / "c.wav", np.zeros(0), RATE)
    for name in ("a.wav", "b.wav", "c.wav", "missing.wav"):
        with pytest.raises(MediaError):
            glance(tmp_path / name)
