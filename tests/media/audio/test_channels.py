"""Channels keep their places in every format."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from vqtok.media import audio

RATE = 24000
# RFC 7845, section 5.1.1.2, and WAVEFORMATEXTENSIBLE: names in the order of the file.
VORBIS = {
    3: "FL FC FR",
    4: "FL FR BL BR",
    5: "FL FC FR BL BR",
    6: "FL FC FR BL BR LFE",
    7: "FL FC FR SL SR BC LFE",
    8: "FL FC FR SL SR BL BR LFE",
}
WAV = {
    3: "FL FR FC",
    4: "FL FR BL BR",
    5: "FL FR FC BL BR",
    6: "FL FR FC LFE BL BR",
    7: "FL FR FC LFE BC SL SR",
    8: "FL FR FC LFE BL BR SL SR",
}
# Of each place a tone of its own, low enough for a channel of low frequencies.
PLACES = ("FL", "FR", "FC", "LFE", "BC", "BL", "BR", "SL", "SR")
HZ = {name: 30 + 10 * n for n, name in enumerate(PLACES)}


def tones(names: str) -> np.ndarray:
    time_s = np.arange(RATE) / RATE
    return np.stack([0.1 * np.sin(2 * np.pi * HZ[name] * time_s) for name in names.split()])


def names(samples: np.ndarray) -> str:
    spectrum = np.abs(np.fft.rfft(samples[:, :RATE]))
    places = {hz: name for name, hz in HZ.items()}
    return " ".join(places.get(int(each), "?") for each in spectrum.argmax(axis=1))


@pytest.mark.parametrize("channels", VORBIS)
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_surround_is_read_in_the_order_of_wav(subtype: str, channels: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, tones(VORBIS[channels]).T, RATE, format="OGG", subtype=subtype)
    assert names(audio.read(file)[0]) == WAV[channels]


@pytest.mark.parametrize("channels", VORBIS)
@pytest.mark.parametrize("format", ["ogg", "opus"])
def test_surround_is_written_in_the_order_of_the_format(format: str, channels: int) -> None:
    file = io.BytesIO()
    with audio.Writer(file, RATE, channels, format) as writer:
        writer.write(tones(WAV[channels]).astype(np.float32))
    file.seek(0)
    found = soundfile.read(file, always_2d=True)[0].T  # as they lie in the file
    assert names(found) == VORBIS[channels]


@pytest.mark.parametrize("channels", WAV)
@pytest.mark.parametrize("format", ["wav", "flac", "aiff"])
def test_other_formats_have_the_order_of_wav(format: str, channels: int) -> None:
    file = io.BytesIO()
    with audio.Writer(file, RATE, channels, format) as writer:
        writer.write(tones(WAV[channels]).astype(np.float32))
    file.seek(0)
    assert names(soundfile.read(file, always_2d=True)[0].T) == WAV[channels]
    file.seek(0)
    assert names(audio.read(file)[0]) == WAV[channels]
