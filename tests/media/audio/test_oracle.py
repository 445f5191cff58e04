"""Two hundred files of twenty containers and codecs have as many samples here as in ffmpeg.

Tolerances, each for a reason: none where the container tells the length. Of MP3 ffmpeg keeps the
encoder's padding where the count is wrong or absent, and the delay where there is no header at all;
of each further recording in a joined file it plays delay, padding and the frame of the header. Of
Vorbis it loses up to one block at the start; of Opus in Ogg nothing. It resamples nothing here but
Opus, which it gives at 48 kHz.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from tests.media.audio import ffmpeg
from vqtok.errors import MediaError
from vqtok.media import audio

# Name: suffix, options, rates, most channels, difference in samples that is allowed.
KINDS: dict[str, tuple[str, tuple[str, ...], tuple[int, ...], int, int]] = {
    "wav": (".wav", (), (8000, 44100), 8, 0),
    "wav float": (".wav", ("-c:a", "pcm_f32le"), (22050,), 2, 0),
    "wav a-law": (".wav", ("-c:a", "pcm_alaw"), (8000,), 2, 0),
    "wav ms adpcm": (".wav", ("-c:a", "adpcm_ms"), (22050, 44100), 2, 0),
    "wav ima adpcm": (".wav", ("-c:a", "adpcm_ima_wav"), (22050, 44100), 2, 0),
    "wav mp3": (".wav", ("-c:a", "libmp3lame"), (22050, 44100), 2, 0),
    "wav mp2": (".wav", ("-c:a", "mp2"), (44100,), 2, 0),
    "rf64": (".wav", ("-rf64", "always"), (44100,), 2, 0),
    "w64": (".w64", (), (44100,), 2, 0),
    "caf": (".caf", (), (44100,), 2, 0),
    "caf alac": (".caf", ("-c:a", "alac"), (44100,), 2, 0),
    "au": (".au", (), (22050,), 2, 0),
    "aiff": (".aiff", (), (22050, 44100), 6, 0),
    "aifc": (".aiff", ("-c:a", "pcm_alaw"), (22050,), 2, 0),
    "flac": (".flac", (), (22050, 44100), 8, 0),
    "flac in ogg": (".oga", (), (22050, 44100), 8, 0),
    "vorbis": (".ogg", ("-c:a", "libvorbis"), (22050, 44100), 8, 1024),
    "opus": (".opus", ("-c:a", "libopus"), (24000, 48000), 2, 0),
    "mp3": (".mp3", (), (16000, 22050, 44100), 2, 0),
    "mp3 vbr": (".mp3", ("-q:a", "4"), (24000, 48000), 2, 0),
    "mp3 without a header": (".mp3", ("-write_xing", "0"), (22050, 44100), 2, 529),
    "mp2": (".mp2", (), (22050, 44100), 2, 0),
    "aac": (".m4a", (), (22050, 44100), 6, 0),
    "adts": (".aac", (), (22050, 44100), 2, 0),
    "alac": (".m4a", ("-c:a", "alac"), (44100,), 6, 0),
    "wma": (".wma", (), (22050, 44100), 2, 0),
    "ac-3": (".ac3", (), (44100, 48000), 6, 0),
    "webm": (".webm", ("-c:a", "libopus"), (48000,), 2, 0),
    "matroska": (".mka", ("-c:a", "flac"), (44100,), 6, 0),
    "wavpack": (".wv", (), (44100,), 2, 0),
}
FILES = 7
"""Of each kind."""


def compared(data: bytes) -> tuple[int, int]:
    """Samples per channel here and in ffmpeg, at the file's rate."""
    found, info = audio.read(io.BytesIO(data))
    assert found.shape == (info.channels, info.length)
    expected = ffmpeg.decoded(data, info.channels).shape[1]
    return found.shape[1], round(
        expected * info.rate / 48000
    ) if info.subtype == "OPUS" else expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_as_many_samples_as_ffmpeg_decodes(kind: str) -> None:
    suffix, options, rates, most, tolerance = KINDS[kind]
    rng = np.random.default_rng(list(KINDS).index(kind))
    for _ in range(FILES):
        channels, rate = int(rng.integers(1, most + 1)), int(rng.choice(rates))
        length = int(rng.integers(3000, 40_000))
        walk = np.cumsum(rng.standard_normal((channels, length)), axis=1)
        data = ffmpeg.encoded(0.5 * walk / np.abs(walk).max(), rate, suffix, *options)
        assert data, (channels, rate)
        here, there = compared(data)
        assert abs(here - there) <= tolerance, (channels, rate, length, here, there)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mp3", "mp3 vbr", "vorbis", "opus", "flac", "mp2", "adts"])
def test_joined_files_have_no_less_than_ffmpeg_decodes(kind: str) -> None:
    suffix, options, rates, _, _ = KINDS[kind]
    rng = np.random.default_rng(0)
    for count in (2, 3):
        lengths = [int(each) for each in rng.integers(5000, 30_000, count)]
        walks = [0.01 * np.cumsum(rng.standard_normal((1, length)), axis=1) for length in lengths]
        data = [ffmpeg.encoded(np.clip(w, -0.5, 0.5), rates[-1], suffix, *options) for w in walks]
        here, there = compared(b"".join(data))
        alone = sum(compared(each)[0] for each in data)
        # All that each file has alone; ffmpeg plays delays and paddings in between, or loses a
        # frame there.
        assert here == alone
        assert abs(here - there) <= 4 * 1152 * count


@pytest.mark.slow
@pytest.mark.parametrize("format", ["wav", "flac", "aiff", "ogg", "opus", "mp3"])
def test_what_is_written_is_what_ffmpeg_reads(format: str) -> None:
    rng = np.random.default_rng(0)
    for channels in range(1, 3 if format == "mp3" else 7):
        length = int(rng.integers(3000, 40_000))
        x = np.clip(0.01 * np.cumsum(rng.standard_normal((channels, length)), axis=1), -0.5, 0.5)
        buffer = io.BytesIO()
        with audio.Writer(buffer, 48000, channels, format, length=length) as writer:
            writer.write(x.astype(np.float32))
        there = ffmpeg.decoded(buffer.getvalue(), channels)
        assert abs(there.shape[1] - length) <= (1024 if format == "ogg" else 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "subtype", ["PCM_16", "FLOAT", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"]
)
@pytest.mark.parametrize("format", ["WAV", "AIFF", "AU", "W64", "CAF", "FLAC", "OGG", "MP3"])
def test_whatever_soundfile_writes_has_the_samples_that_it_reads(format: str, subtype: str) -> None:
    if subtype not in soundfile.available_subtypes(format):
        pytest.skip("there is no such file")
    buffer = io.BytesIO()
    x = np.clip(0.01 * np.cumsum(np.random.default_rng(0).standard_normal(30_001)), -1, 1)
    soundfile.write(buffer, x, 8000, format=format, subtype=subtype)
    try:
        found, _ = audio.read(io.BytesIO(buffer.getvalue()))
    except MediaError as error:
        pytest.fail(str(error))
    expected, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")
    np.testing.assert_array_equal(found[0], expected)
