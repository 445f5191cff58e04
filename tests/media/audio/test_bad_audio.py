"""Every file that is no whole recording gets one clear line of its own."""

from __future__ import annotations

import errno
import io
import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vqtok.errors import MediaError, VqtokError
from vqtok.media import audio
from vqtok.media.audio import mpeg


@pytest.fixture
def noise() -> np.ndarray:
    walk = np.cumsum(np.random.default_rng(0).standard_normal(60_000))
    return (0.5 * walk / np.abs(walk).max()).astype(np.float32)


def encoded(samples: np.ndarray, format: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 24000, format=format, subtype=subtype)
    return buffer.getvalue()


def fails(path: Path, capfd: pytest.CaptureFixture[str] | None = None) -> VqtokError:
    with pytest.raises(MediaError) as caught:
        audio.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    if capfd is not None:
        assert capfd.readouterr().err == ""
    return caught.value


def test_missing_empty_and_directory(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert "empty file" in str(fails(tmp_path / "a.wav"))
    assert "no such file" in str(fails(tmp_path / "b.wav"))
    assert "is a directory" in str(fails(tmp_path))


def test_text_renamed_wav(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("once upon a time")
    error = fails(tmp_path / "a.wav")
    assert "not audio that vqtok reads" in str(error) and "flac" in str(error.hint)


def test_image_renamed_wav_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    assert "it holds PNG" in str(fails(tmp_path / "a.wav"))


@pytest.mark.parametrize("format", ["WAV", "OGG", "AIFF"])
def test_file_without_samples(tmp_path: Path, format: str, noise: np.ndarray) -> None:
    (tmp_path / "a").write_bytes(encoded(noise[:0], format))
    assert "no audio samples" in str(fails(tmp_path / "a"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sample_that_is_not_finite_is_named_by_its_place(tmp_path: Path, bad: float) -> None:
    x = np.zeros((48_000, 2))
    x[36_000, 1] = bad
    soundfile.write(tmp_path / "a.wav", x, 24000, subtype="FLOAT")
    assert f"sample is {bad} at 1.500 s, channel 2" in str(fails(tmp_path / "a.wav"))


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.75, 0.99])
@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAV", "IMA_ADPCM"),
        ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_truncated_file(
    tmp_path: Path,
    noise: np.ndarray,
    format: str,
    subtype: str,
    share: float,
    capfd: pytest.CaptureFixture[str],
) -> None:
    whole = encoded(noise, format, subtype)
    if format == "MP3" and share == 0.99:
        pytest.skip("less than the frame that encoders disagree on")
    (tmp_path / "a").write_bytes(whole[: max(20, int(len(whole) * share))])
    assert "truncated" in str(fails(tmp_path / "a", capfd))


def test_truncated_wav_says_how_much_is_there(tmp_path: Path, noise: np.ndarray) -> None:
    (tmp_path / "a.wav").write_bytes(encoded(noise, "WAV")[: 44 + 2 * 1234])
    assert "header says 60000 samples, file holds 1234" in str(fails(tmp_path / "a.wav"))


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
def test_wav_headers_that_were_never_finished_are_read_to_the_end(
    noise: np.ndarray, riff: int, size: int
) -> None:
    data = bytearray(encoded(noise, "WAV"))
    assert data[36:40] == b"data"
    data[4:8], data[40:44] = struct.pack("<I", riff), struct.pack("<I", size)
    expected, _ = audio.read(io.BytesIO(encoded(noise, "WAV")))
    found, info = audio.read(io.BytesIO(bytes(data)))
    assert info.length == 60_000
    np.testing.assert_array_equal(found, expected)


def test_empty_wav_with_a_chunk_behind_it_has_no_samples(noise: np.ndarray) -> None:
    data = bytearray(encoded(noise[:0], "WAV") + b"LIST\x04\0\0\0INFO")
    data[4:8] = struct.pack("<I", len(data) - 8)
    with pytest.raises(MediaError, match="no audio samples"):
        audio.read(io.BytesIO(bytes(data)))


def test_flac_from_a_pipe_has_no_length_but_is_whole(noise: np.ndarray) -> None:
    data = bytearray(encoded(noise, "FLAC"))
    expected, _ = audio.read(io.BytesIO(bytes(data)))
    data[8 + 13] &= 0xF0  # the 36 bits of the sample count in STREAMINFO
    data[8 + 14 : 8 + 18] = bytes(4)
    found, info = audio.read(io.BytesIO(bytes(data)))
    assert info.length == 60_000
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
def test_mp3_without_a_length_is_read_to_its_end(
    noise: np.ndarray, rate: int, channels: int, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    samples = np.stack([noise] * channels, axis=1)
    soundfile.write(buffer, samples, rate, format="MP3", bitrate_mode="VARIABLE")
    whole = buffer.getvalue()
    expected, _ = audio.read(io.BytesIO(whole))
    size = mpeg.frame_size(whole[:4])
    assert size is not None and mpeg.parts(io.BytesIO(whole))[0].header is not None
    tag = b"ID3\x04\0\0\0\0\1\0" + bytes(128)
    found, info = audio.read(io.BytesIO(tag + whole[size:]))
    assert info.length >= 60_000
    # Only the Xing frame knows how much the encoder padded in front: 576 samples in LAME.
    np.testing.assert_array_equal(found[:, 576 : 576 + 50_000], expected[:, :50_000])
    assert capfd.readouterr().err == ""


def test_damaged_bytes_never_escape_as_another_error(noise: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    for format in ("WAV", "FLAC", "OGG", "AIFF"):
        whole = encoded(noise[:3000], format)
        for _ in range(60):
            data = bytearray(whole)
            for at in rng.integers(4, min(len(data), 300), 3):
                data[at] = rng.integers(256)
            try:
                audio.read(io.BytesIO(bytes(data)))
            except MediaError as error:
                assert "\n" not in str(error)


class _FullDisk(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "opus", "mp3", "aiff"])
def test_full_disk_is_one_error_in_every_format(format: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 48000)).astype(np.float32)
    with (
        pytest.raises(MediaError, match="/dev/full: cannot write: no space left on device"),
        audio.Writer(Path("/dev/full"), 48000, 1, format) as writer,
    ):
        writer.write(x)


def test_full_stream() -> None:
    with (
        pytest.raises(MediaError, match="cannot write: no space left on device"),
        audio.Writer(_FullDisk(), 48000, 1) as writer,
    ):
        writer.write(np.zeros((1, 100), np.float32))


def test_samples_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    with (
        pytest.raises(MediaError, match="not finite"),
        audio.Writer(tmp_path / "a.wav", 24000, 1) as writer,
    ):
        writer.write(np.full((1, 5), np.nan, np.float32))
    assert not list(tmp_path.iterdir())


def test_a_second_of_audio_in_each_byte_is_refused_by_name(tmp_path: Path) -> None:
    data = bytearray(encoded(np.zeros(1000), "WAV"))
    data[24:28] = struct.pack("<I", 1)
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(MediaError, match=r"a\.wav: cannot resample 1 Hz to 24000 Hz"):
        audio.read(tmp_path / "a.wav", rate=24000)
    assert audio.probe(tmp_path / "a.wav").rate == 1


@pytest.mark.parametrize("size", [5000, 2**32, 2**63 - 1, 2**64 - 1])
def test_rf64_is_truncated_by_its_long_size(
    tmp_path: Path, size: int, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(encoded(np.zeros(1000), "RF64"))
    at = data.index(b"ds64") + 16
    data[at : at + 8] = struct.pack("<Q", size)
    (tmp_path / "a.wav").write_bytes(data)
    assert "file holds 1000" in str(fails(tmp_path / "a.wav", capfd))


def test_samples_beyond_any_scale_are_named(tmp_path: Path) -> None:
    x = np.full(1000, 3.4e38, np.float32)
    soundfile.write(tmp_path / "a.wav", x, 8000, subtype="FLOAT")
    with pytest.raises(MediaError, match=r"sample is 3\.\d+e\+38 at 0\.000 s, channel 1"):
        audio.read(tmp_path / "a.wav", rate=24000)


def test_a_rate_that_no_file_can_hold_leaves_no_half_file(tmp_path: Path) -> None:
    with (
        pytest.raises(VqtokError, match="cannot hold this"),
        audio.Writer(tmp_path / "a.wav", 1 << 40, 1),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("streamed", [True, False])
def test_a_header_that_leads_before_the_start_leaves_no_traceback(
    tmp_path: Path, noise: np.ndarray, streamed: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.aiff"
    for offset in range(12, 80):
        for field in (bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff"):
            data = bytearray(encoded(noise[:100], "AIFF", "FLOAT"))
            data[offset : offset + 4] = field
            path.write_bytes(data)
            with suppress(MediaError):
                audio.read(io.BytesIO(bytes(data)) if streamed else path)
    assert capfd.readouterr().err == ""
