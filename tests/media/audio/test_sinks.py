"""A WAV that leaves through a pipe is the file, but for a length that was not known in time."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import MediaError
from vqtok.media import audio
from vqtok.media.audio import wav


class Out(io.RawIOBase):
    """A pipe that keeps what went through it, taking a few bytes at a time."""

    def __init__(self, most: int = 1 << 20) -> None:
        self.data, self.most, self.flushes = b"", most, 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        taken = bytes(data[: self.most])
        self.data += taken
        return len(taken)

    def flush(self) -> None:
        self.flushes += 1


def noise(length: int, channels: int) -> np.ndarray:
    shape = (channels, length)
    return np.random.default_rng(0).uniform(-1.1, 1.1, shape).astype(np.float32)


def write(target: Any, x: np.ndarray, *, settle: int | None = None, **options: Any) -> None:
    with audio.Writer(target, 24000, len(x), "wav", **options) as writer:
        for block in np.array_split(x, 3, axis=1):
            writer.write(block)
        if settle is not None:
            writer.settle(settle)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@given(length=st.integers(1, 30_000), most=st.sampled_from((1000, 1 << 20)))
def test_a_known_length_makes_the_bytes_of_the_file(tmp_path_factory, channels, length, most):
    path, pipe = tmp_path_factory.mktemp("out") / "a.wav", Out(most)
    x = noise(length, channels)
    write(path, x, length=length)
    write(pipe, x, length=length)
    assert pipe.data == path.read_bytes()
    seekable = io.BytesIO(b"before")
    seekable.seek(6)
    write(seekable, x)
    assert seekable.getvalue() == b"before" + path.read_bytes()
    assert seekable.tell() == len(seekable.getvalue())


@given(length=st.integers(1, 30_000))
def test_an_unknown_length_is_declared_and_read_so(length: int):
    pipe = Out()
    write(pipe, noise(length, 2))
    riff, size = struct.unpack("<4xI32xI", pipe.data[:44])
    assert (riff, size, len(pipe.data)) == (0xFFFFFFFF, 0xFFFFFFFF, 44 + 4 * length)
    assert audio.probe(io.BytesIO(pipe.data)).length == length
    with soundfile.SoundFile(io.BytesIO(pipe.data)) as sound:
        assert sound.frames == length


def test_samples_leave_with_each_block_not_at_the_end():
    pipe = Out()
    with audio.Writer(pipe, 24000, 1, "wav") as writer:
        writer.write(noise(1000, 1))
        assert (len(pipe.data), pipe.flushes) == (44 + 2 * 998, 1)
        writer.write(noise(1000, 1))
        assert pipe.flushes == 2
    assert len(pipe.data) == 44 + 2 * 2000


@given(rate=st.sampled_from((8000, 22050, 44100, 48000)), length=st.integers(1, 9000))
def test_a_length_that_is_settled_at_the_end_is_exact(rate: int, length: int):
    inside = audio.resampled_length(length, rate, 24000)
    known, settled = Out(), Out()
    for pipe, options in ((known, {"length": length}), (settled, {})):
        with audio.Writer(pipe, rate, 1, "wav", from_rate=24000, **options) as writer:
            writer.write(noise(inside, 1))
            if not options:
                writer.settle(length)
    assert settled.data[44:] == known.data[44:]
    assert len(known.data) == 44 + 2 * length


def test_a_file_that_is_appended_to_is_not_wound_back(tmp_path: Path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"before")
    with path.open("ab") as stream:
        write(stream, noise(50, 1))
    data = path.read_bytes()
    assert (data[:10], len(data)) == (b"beforeRIFF", 6 + 44 + 100)


def test_an_error_before_the_first_block_leaves_an_empty_pipe():
    pipe = Out()
    with pytest.raises(KeyboardInterrupt), audio.Writer(pipe, 24000, 1, "wav"):
        raise KeyboardInterrupt
    assert pipe.data == b""


def test_a_pipe_that_breaks_says_so():
    class Broken(Out):
        def write(self, data: Any) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        write(Broken(), noise(100_000, 1))


def test_more_than_a_wav_can_hold_is_a_clear_error(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(wav, "MAX_BYTES", 4000)
    with pytest.raises(MediaError, match="a WAV of unknown length holds 4 GiB at most") as told:
        write(tmp_path / "a.wav", noise(3000, 1))
    assert told.value.hint == "--format flac"
    assert not list(tmp_path.iterdir())
    write(tmp_path / "b.wav", noise(3000, 1), length=3000)
    assert (tmp_path / "b.wav").read_bytes()[:4] == b"RF64"
    assert audio.probe(tmp_path / "b.wav").length == 3000
