"""Audio files come in as they are, block by block, and go out with an exact length."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.media.files import Pipe
from vqtok.errors import UsageError
from vqtok.media import audio

LOSSLESS = ["wav", "flac", "aiff"]
ALL = [*LOSSLESS, "ogg", "opus", "mp3"]


def tone(length: int, channels: int = 1, rate: int = 24000) -> np.ndarray:
    """(C, L): another frequency in each channel, on the 16-bit grid."""
    time_s = np.arange(length) / rate
    waves = [0.5 * np.sin(2 * np.pi * 220 * (c + 1) * time_s) for c in range(channels)]
    return (np.rint(np.stack(waves) * 32768) / 32768).astype(np.float32)


def written(samples: np.ndarray, rate: int, format: str) -> io.BytesIO:
    buffer = io.BytesIO()
    with audio.Writer(buffer, rate, len(samples), format) as writer:
        writer.write(samples)
    buffer.seek(0)
    return buffer


@given(length=st.integers(1, 5000), channels=st.integers(1, 6), rate=st.integers(1, 192_000))
@pytest.mark.parametrize("format", ["wav", "aiff"])
def test_lossless_files_return_the_same_bits(
    format: str, length: int, channels: int, rate: int
) -> None:
    x = tone(length, channels)
    y, info = audio.read(written(x, rate, format))
    assert (info.rate, info.channels, info.length) == (rate, channels, length)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_flac_returns_the_same_bits(channels: int) -> None:
    x = tone(5000, channels)
    y, info = audio.read(written(x, 44100, "flac"))
    assert info.format == "FLAC"
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("format", ["ogg", "opus", "mp3"])
def test_lossy_files_keep_length_channels_and_time(format: str) -> None:
    x = tone(48_000, 2)
    y, info = audio.read(written(x, 24000, format))
    assert y.shape == x.shape and info.length == 48_000
    inner = slice(4000, -4000)  # encoders smear the hard start and end of the tone
    error = np.square(y[:, inner] - x[:, inner]).mean() / np.square(x[:, inner]).mean()
    # 10 dB: one sample of delay costs 25 dB at most, 100 samples would leave nothing.
    assert error < 0.1


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_of_every_sample_format_is_read(tmp_path: Path, subtype: str) -> None:
    x = tone(1000, 2)
    soundfile.write(tmp_path / "a.wav", x.T, 24000, subtype=subtype)
    y, info = audio.read(tmp_path / "a.wav")
    assert (info.format, info.subtype) == ("WAV", subtype)
    np.testing.assert_allclose(y, x, atol=1 / 127 if subtype == "PCM_U8" else 1e-6)


@pytest.mark.parametrize("format", ["WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"])
def test_relatives_of_wav_are_read(tmp_path: Path, format: str) -> None:
    x = tone(1000, 2)
    soundfile.write(tmp_path / "a.wav", x.T, 24000, format=format, subtype="PCM_16")
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav")[0], x)


@given(block=st.integers(1, 3000), rate=st.sampled_from([None, 16000, 44100]), mono=st.booleans())
def test_blocks_are_the_whole_bit_for_bit(block: int, rate: int | None, mono: bool) -> None:
    file = written(tone(7001, 2), 24000, "wav")
    whole, info = audio.read(file, rate=rate, mono=mono)
    with audio.Reader(file) as reader:
        blocks = list(reader.blocks(rate, mono=mono, block=block))
    assert all(each.shape == (len(whole), block) for each in blocks[:-1])
    assert all(each.dtype == np.float32 for each in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
    assert whole.shape[1] == audio.resampled_length(info.length, info.rate, rate or info.rate)


@pytest.mark.parametrize("format", ALL)
def test_block_size_and_second_reading_never_change_a_bit(tmp_path: Path, format: str) -> None:
    rng = np.random.default_rng(0)
    noise = np.cumsum(rng.standard_normal((1, 60_000)), axis=1)
    x = (0.5 * noise / np.abs(noise).max()).astype(np.float32)
    path = tmp_path / f"a.{format}"
    path.write_bytes(written(x, 24000, format).getvalue())
    # The oracle: libsndfile decodes the whole file at one go. (soundfile.read() seeks to 0 first,
    # which changes the last bit of an MP3.)
    with soundfile.SoundFile(path) as sound:
        oracle = sound.read(60_000, dtype="float32", always_2d=True).T
    with audio.Reader(path) as reader:
        for block in (60_000, 777):
            blocks = list(reader.blocks(block=block))
            np.testing.assert_array_equal(np.concatenate(blocks, axis=1), oracle)


def test_mono_is_the_mean_of_the_channels() -> None:
    x = tone(500, 3)
    mixed, info = audio.read(written(x, 24000, "wav"), mono=True)
    assert info.channels == 3
    np.testing.assert_allclose(mixed, x.mean(axis=0, keepdims=True), atol=1e-6)


def test_values_beyond_one_stay_on_reading_and_are_clipped_on_writing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([2.0, -3.0, 0.5]), 24000, subtype="FLOAT")
    loud, _ = audio.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(loud, [[2.0, -3.0, 0.5]])
    clipped, _ = audio.read(written(loud, 24000, "wav"))
    np.testing.assert_allclose(clipped, [[1.0, -1.0, 0.5]], atol=1 / 32768)


@pytest.mark.parametrize("format", ALL)
def test_pipes_are_read_like_files(format: str) -> None:
    file = written(tone(9000, 2), 24000, format)
    expected, info = audio.read(file)
    piped, found = audio.read(io.BufferedReader(Pipe(file.getvalue())))
    assert found == info
    np.testing.assert_array_equal(piped, expected)


def test_one_sample_is_enough() -> None:
    x = np.full((1, 1), 0.25, np.float32)
    for rate in (8000, 24000, 48000):
        y, info = audio.read(written(x, rate, "wav"), rate=24000)
        assert info.length == 1 and y.shape == (1, audio.resampled_length(1, rate, 24000))


@given(
    cuts=st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    length=st.one_of(st.none(), st.integers(1, 20_000)),
)
def test_writer_makes_exactly_the_asked_length(cuts: list[int], length: int | None) -> None:
    x = tone(sum(cuts), 2)
    buffer = io.BytesIO()
    with audio.Writer(buffer, 44100, 2, "wav", from_rate=24000, length=length) as writer:
        for block in np.split(x, np.cumsum(cuts)[:-1], axis=1):
            writer.write(block)
    natural = audio.resampled_length(x.shape[1], 24000, 44100)
    y, info = audio.read(buffer)
    assert (info.rate, info.length) == (44100, natural if length is None else length)
    assert not y[:, natural:].any()


@pytest.mark.parametrize("format", ALL)
def test_same_samples_make_the_same_bytes(format: str) -> None:
    first = written(tone(30_000, 2), 24000, format).getvalue()
    assert written(tone(30_000, 2), 24000, format).getvalue() == first


def test_a_block_that_is_huge_does_not_break_the_vorbis_encoder() -> None:
    assert audio.probe(written(tone(3_000_000), 48000, "ogg")).length == 3_000_000


@pytest.mark.parametrize(
    ("suffix", "rate", "channels", "what"),
    [
        (".opus", 44100, 1, "opus cannot hold 44100 Hz"),
        (".mp3", 96000, 1, "mp3 cannot hold 96000 Hz"),
        (".mp3", 24000, 3, "mp3 cannot hold 3 channels"),
        (".flac", 24000, 9, "FLAC cannot hold"),
        (".xyz", 24000, 1, "unknown format 'xyz'"),
        ("", 24000, 1, "no suffix"),
    ],
)
def test_what_a_format_cannot_hold_is_a_usage_error(
    tmp_path: Path, suffix: str, rate: int, channels: int, what: str
) -> None:
    with (
        pytest.raises(UsageError, match=what) as caught,
        audio.Writer(tmp_path / f"a{suffix}", rate, channels),
    ):
        pass
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        audio.Writer(tmp_path / "a.wav", 24000, 1) as writer,
    ):
        writer.write(tone(100))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_streaming_an_hour_takes_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    second = tone(8000, 1, 8000)
    with audio.Writer(path, 8000, 1) as writer:
        for _ in range(3600):
            writer.write(second)
    tracemalloc.start()  # numpy reports its arrays to it
    with audio.Reader(path) as reader:
        total = sum(block.shape[1] for block in reader.blocks(24000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 3600 * 24000  # 346 MB if it were held
    assert peak < 8_000_000
