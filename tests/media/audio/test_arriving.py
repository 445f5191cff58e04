"""A WAV in a pipe gives the samples of the file, whatever the pieces it arrives in."""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vqtok.errors import MediaError
from vqtok.media import audio

SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW")


class Dripping(io.RawIOBase):
    """A pipe whose writer makes chunks of the given sizes, over and over."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        self._data, self._sizes, self._turn = io.BytesIO(data), sizes, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._sizes[self._turn % len(self._sizes)])
        self._turn += 1
        data = self._data.read(size)
        buffer[: len(data)] = data
        return len(data)


def pipe(data: bytes, *sizes: int) -> io.BufferedReader:
    return io.BufferedReader(Dripping(data, sizes or (65536,)))


def wav(length: int = 3000, channels: int = 2, **options: Any) -> bytes:
    x = np.random.default_rng(0).uniform(-1, 1, (length, channels))
    file = io.BytesIO()
    options = {"format": "WAV", "subtype": "PCM_16", "samplerate": 8000} | options
    soundfile.write(file, x, **options)
    return file.getvalue()


def with_sizes(data: bytes, riff: int, samples: int) -> bytes:
    at = data.index(b"data")
    return data[:4] + struct.pack("<I", riff) + data[8 : at + 4] + struct.pack(
        "<I", samples
    ) + data[at + 8 :]  # fmt: skip


def heard(source: Any, **options: Any) -> tuple[np.ndarray, audio.Arriving]:
    with audio.listen(source) as arriving:
        assert isinstance(arriving, audio.Arriving)
        return np.concatenate(list(arriving.blocks(**options)), axis=1), arriving


@pytest.mark.parametrize(
    ("format", "endian"), [("WAV", "LITTLE"), ("WAV", "BIG"), ("WAVEX", "LITTLE")]
)
@pytest.mark.parametrize("subtype", SUBTYPES)
@settings(max_examples=8)
@given(sizes=st.lists(st.integers(1, 65536), min_size=1, max_size=3))
def test_samples_are_those_of_the_file(format, subtype, endian, sizes) -> None:
    data = wav(format=format, subtype=subtype, endian=endian)
    expected, info = audio.read(io.BytesIO(data))
    found, arriving = heard(pipe(data, *sizes))
    np.testing.assert_array_equal(found, expected)
    assert (arriving.rate, arriving.channels, arriving.subtype, arriving.length) == (
        info.rate,
        info.channels,
        info.subtype,
        info.length,
    )


@given(
    sizes=st.lists(st.integers(1, 65536), min_size=1, max_size=4),
    rate=st.sampled_from((8000, 11025, 24000, 48000)),
    mono=st.booleans(),
    length=st.integers(1, 50_000),
)
def test_resampled_and_mixed_it_is_the_same_too(sizes, rate, mono, length) -> None:
    data = wav(length, samplerate=rate)
    expected, _ = audio.read(io.BytesIO(data), rate=24000, mono=mono)
    found, _ = heard(pipe(data, *sizes), rate=24000, mono=mono)
    np.testing.assert_array_equal(found, expected)


UNKNOWN = [
    (0, 0),
    (36, 0),
    (0xFFFFFFFF, 0),
    (0xFFFFFFFF, 0xFFFFFFFF),
    (0xFFFFF024, 0xFFFFF000),
    (0x7FFFF024, 0x7FFFF000),
    (0x80000024, 0x80000000),
]


@pytest.mark.parametrize(("riff", "size"), UNKNOWN)
def test_an_unknown_length_means_until_the_end(riff: int, size: int) -> None:
    whole = wav()
    data = with_sizes(whole, riff, size)
    expected, _ = audio.read(io.BytesIO(whole))
    for source in (pipe(data, 777), pipe(data + b"\x01\x02\x03", 5000)):
        found, arriving = heard(source)
        np.testing.assert_array_equal(found, expected)
        assert arriving.declared is None
    np.testing.assert_array_equal(audio.read(io.BytesIO(data))[0], expected)


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_file_that_is_longer_than_its_unfinished_header_can_say_is_read_to_its_end(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(with_sizes(wav(100), size, size))
    os.truncate(path, size + 5_000_000)  # sparse: no byte of it is on the disk
    assert audio.probe(path).length == (size + 5_000_000 - 44) // 4


def test_chunks_around_the_samples_are_no_samples() -> None:
    data = wav()
    extra = b"LIST" + struct.pack("<I", 70_001) + bytes(70_002)
    expected, _ = audio.read(io.BytesIO(data))
    for at in (12, 36):  # before the format, which is then too far to be looked for, and after it
        with audio.listen(pipe(data[:at] + extra + data[at:] + extra, 4096)) as reader:
            assert isinstance(reader, audio.Arriving) == (at == 36)
            found = np.concatenate(list(reader.blocks()), axis=1)
        np.testing.assert_array_equal(found, expected)


def test_whoever_writes_what_follows_the_samples_finds_an_open_pipe() -> None:
    ours, theirs = os.pipe()
    data = wav(100) + b"LIST" + struct.pack("<I", 300_000) + bytes(300_000)
    failures: list[OSError] = []

    def write() -> None:
        with open(theirs, "wb") as stream:  # noqa: PTH123
            try:
                stream.write(data)
            except OSError as error:
                failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    with open(ours, "rb") as stream:  # noqa: PTH123
        found, _ = heard(stream)
    writer.join()
    assert (found.shape[1], failures) == (100, [])


@pytest.mark.parametrize("channels", [1, 2])
def test_a_named_pipe_is_heard_and_closed(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "fifo.wav"
    os.mkfifo(path)
    data = wav(channels=channels)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    found, _ = heard(path)
    writer.join()
    np.testing.assert_array_equal(found, audio.read(io.BytesIO(data))[0])


def test_first_samples_are_there_before_the_rest_arrives() -> None:
    ours, theirs = os.pipe()
    with open(ours, "rb") as stream:  # noqa: PTH123
        os.write(theirs, with_sizes(wav(30_000, 1), 0xFFFFFFFF, 0xFFFFFFFF)[:20_000])
        with audio.listen(stream) as arriving:
            blocks = arriving.blocks()
            count = sum(next(blocks).shape[1] for _ in range(4))
            assert count == 8000  # a second: the pipe is still open, and holds no more
            os.close(theirs)


FAULTS = [
    (wav()[:-2], "truncated: header says 3000 samples, file holds 2999"),
    (wav()[:20], "truncated: the file ends before any sample"),
    (wav()[:40], "truncated: the file ends before any sample"),
    (wav()[:44], "truncated: header says 3000 samples, file holds 0"),
    (with_sizes(wav(), 0, 0)[:44], "no audio samples"),
    (wav(0), "no audio samples"),
    (wav()[:20] + b"\0\0\0" + wav()[23:], "truncated, damaged or unsupported WAV: "),
]


@pytest.mark.parametrize(("data", "message"), FAULTS)
def test_faults_are_those_of_the_file(data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        heard(pipe(data, 100))
    with pytest.raises(MediaError, match=message):
        audio.read(io.BytesIO(data))


def test_samples_that_are_not_finite_are_named() -> None:
    x = np.zeros((9000, 2), np.float32)
    x[8500, 1] = np.nan
    file = io.BytesIO()
    soundfile.write(file, x, 8000, format="WAV", subtype="FLOAT")
    with pytest.raises(MediaError, match=r"sample is nan at 1\.062 s, channel 2"):
        heard(pipe(file.getvalue(), 1000))


@pytest.mark.parametrize(
    ("format", "subtype"), [("FLAC", "PCM_16"), ("WAV", "MS_ADPCM"), ("OGG", "VORBIS")]
)
def test_other_formats_are_spooled(format: str, subtype: str) -> None:
    data = wav(format=format, subtype=subtype)
    with audio.listen(pipe(data, 999)) as reader:
        assert isinstance(reader, audio.Reader)
        found = np.concatenate(list(reader.blocks()), axis=1)
    np.testing.assert_array_equal(found, audio.read(io.BytesIO(data))[0])


@examples(30, many=300)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), min_size=1, max_size=4),
    st.integers(0, 12_100),
)
def test_damage_is_an_error_or_what_the_file_gives(flips, end) -> None:
    damaged = bytearray(wav())
    for place, mask in flips:
        damaged[place] ^= mask
    data = bytes(damaged[:end])
    try:
        expected = audio.read(io.BytesIO(data))[0]
    except MediaError:
        expected = None
    try:
        with audio.listen(pipe(data)) as reader:
            found = np.concatenate(list(reader.blocks()), axis=1)
    except MediaError:
        found = None
    if expected is not None and found is not None:
        np.testing.assert_array_equal(found, expected)
