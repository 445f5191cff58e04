"""Small sound recordings of every kind that can be read, as bytes."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import soundfile

KINDS = (
    ("WAV", "PCM_U8", 1), ("WAV", "PCM_16", 2), ("WAV", "PCM_24", 1), ("WAV", "PCM_32", 1),
    ("WAV", "FLOAT", 2), ("WAV", "DOUBLE", 1), ("WAV", "ULAW", 1), ("WAV", "ALAW", 1),
    ("WAV", "IMA_ADPCM", 1), ("WAV", "MS_ADPCM", 2), ("WAV", "GSM610", 1), ("WAV", "G721_32", 1),
    ("WAVEX", "PCM_16", 3), ("RF64", "PCM_16", 1), ("AIFF", "PCM_16", 2), ("AIFF", "PCM_S8", 1),
    ("AIFF", "FLOAT", 1), ("AIFF", "ULAW", 1), ("AIFF", "IMA_ADPCM", 1), ("FLAC", "PCM_16", 1),
    ("FLAC", "PCM_24", 2), ("OGG", "VORBIS", 1), ("OGG", "OPUS", 2),
    ("MP3", "MPEG_LAYER_III", 1),
)  # fmt: skip
LENGTH, RATE = 900, 8000


@cache
def seeds() -> dict[str, bytes]:
    """Name → file."""
    t = np.arange(LENGTH)[:, None] / RATE
    found = {}
    for format, subtype, channels in KINDS:
        tones = 300.0 * (1 + np.arange(channels))
        stream = io.BytesIO()
        samples = 0.4 * np.sin(2 * np.pi * tones * t)
        soundfile.write(stream, samples, RATE, format=format, subtype=subtype)
        found[f"{format.lower()} {subtype}"] = stream.getvalue()
    big = io.BytesIO()
    soundfile.write(big, samples, RATE, format="WAV", subtype="PCM_16", endian="BIG")
    found["rifx PCM_16"] = big.getvalue()
    mp3 = found["mp3 MPEG_LAYER_III"]
    found["mp3 tagged"] = b"ID3\x04\0\0\0\0\1\0" + bytes(128) + mp3
    found["wav with a list"] = found["wav PCM_16"] + b"LIST\x04\0\0\0INFO"
    return found
