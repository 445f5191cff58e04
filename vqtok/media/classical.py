"""JPEG, WebP, AVIF, Opus and MP3 within a number of bits: what the same bits buy without a network.

A file gets the highest setting whose whole bytes, headers included, are within the bits; where not
even the lowest setting is, that one, which is then nearest. Settings are searched by bisection, as
if sizes never fell while quality rises: where they do, the file is within the bits, but may not be
the largest that is.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from PIL import Image, features

from vqtok.errors import MediaError, UsageError
from vqtok.media.audio import Forward
from vqtok.media.audio.ogg import fix_serial
from vqtok.media.audio.resample import Resampler
from vqtok.media.image.pillow import quiet_pillow
from vqtok.media.image.pixels import to_uint8
from vqtok.media.image.writer import CODEC_ERRORS
from vqtok.media.kinds import Kind

KINDS: dict[str, Kind] = {
    "jpeg": "image",
    "webp": "image",
    "avif": "image",
    "opus": "audio",
    "mp3": "audio",
}
"""The codecs by name, and what each is for."""

TITLES = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "opus": "Opus", "mp3": "MP3"}

SETTINGS = {
    "jpeg": "Pillow, optimised, progressive, 4:2:0",
    "webp": "Pillow, lossy, method 6",
    "avif": "Pillow, speed 6, 4:2:0",
    "opus": "libsndfile, Ogg, variable rate",
    "mp3": "libsndfile, LAME, average rate",
}
"""What is constant while the size is searched."""

# Pillow's qualities, lowest to highest. Above 95 JPEG only grows.
_QUALITIES = {"jpeg": range(1, 96), "webp": range(101), "avif": range(101)}
_OPTIONS: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": True, "progressive": True},
    "webp": {"method": 6},
    "avif": {"speed": 6, "max_threads": 1},  # one thread: the same bytes on every machine
}
_STEPS = 256  # of libsndfile's compression level, about 1 kbit/s each
# At level 1 libsndfile asks LAME for less than it can do.
_LOWEST = {"opus": 1.0, "mp3": 0.999}
_ENCODINGS = {"opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III")}
_RATES = {
    "opus": (8000, 12000, 16000, 24000, 48000),
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}
_WRITE_FRAMES = 1 << 13
_PAIR = 2  # more channels than a pair are coded one by one


@dataclass(frozen=True)
class Coded:
    """A signal after a codec.

    Attributes:
        signal: As it came: float32 (3, H, W) or (C, L) in [-1, 1].
        bits: Of the whole file, or files.
        encode_s: Seconds for the file that was taken, without the search for its setting.
        decode_s: Seconds to decode it.
    """

    signal: np.ndarray
    bits: int
    encode_s: float
    decode_s: float


def missing(name: str) -> str | None:
    """Explains why a codec cannot be had here: the words for an error; None if it can."""
    if KINDS[name] == "image":
        lacks = name != "jpeg" and not features.check(name)
        return f"this Pillow was built without {TITLES[name]}" if lacks else None
    container, subtype = _ENCODINGS[name]
    lacks = subtype not in soundfile.available_subtypes(container)
    return f"this libsndfile cannot write {TITLES[name]}" if lacks else None


def require(name: str) -> None:
    """Check that a codec is there.

    Raises:
        UsageError: it is not.
    """
    reason = missing(name)
    if reason is not None:
        raise UsageError(f"-m {name}", reason, hint=f"leave out -m {name}")


def code_image(pixels: np.ndarray, name: str, bits: float, *, grey: bool = False) -> Coded:
    """Code a picture within so many bits.

    Args:
        pixels: (3, H, W) float in [-1, 1]; rounded to 8 bits.
        name: "jpeg", "webp" or "avif".
        bits: Of the whole file.
        grey: Without colour: no bits go into what is not there. Coded is the first channel.

    Raises:
        MediaError: a picture that the format cannot hold.
    """
    values = to_uint8(pixels)
    image = Image.fromarray(values[0] if grey else values.transpose(1, 2, 0))

    def encode(index: int) -> bytes:
        out = io.BytesIO()
        with quiet_pillow():
            image.save(out, TITLES[name].upper(), quality=qualities[index], **_OPTIONS[name])
        return out.getvalue()

    qualities = _QUALITIES[name]
    try:
        data, encode_s = _within(encode, len(qualities), bits)
        start = time.perf_counter()
        with quiet_pillow(), Image.open(io.BytesIO(data), formats=(TITLES[name].upper(),)) as coded:
            decoded = np.asarray(coded.convert("L" if grey else "RGB"), np.float32)
    except CODEC_ERRORS as error:
        size = f"{image.width}x{image.height}"
        raise MediaError(f"{TITLES[name]} cannot hold {size} pixels: {error}") from error
    decode_s = time.perf_counter() - start
    y = decoded / np.float32(127.5) - np.float32(1)
    y = np.broadcast_to(y, pixels.shape) if grey else y.transpose(2, 0, 1)
    return Coded(np.ascontiguousarray(y), 8 * len(data), encode_s, decode_s)


def code_audio(samples: np.ndarray, name: str, bits: float, *, rate: int) -> Coded:
    """Code a recording within so many bits; a pair of channels as stereo, more one by one.

    Args:
        samples: (C, L) float, clipped to [-1, 1].
        name: "opus" or "mp3".
        bits: Of the whole file, or of all files.
        rate: Hz of the samples; resampled on the way if the format does not have it.

    Raises:
        MediaError: samples that the format cannot hold.
    """
    channels, length = samples.shape
    if channels > _PAIR:
        each = [code_audio(row[None], name, bits / channels, rate=rate) for row in samples]
        return Coded(
            np.concatenate([coded.signal for coded in each]),
            sum(coded.bits for coded in each),
            sum(coded.encode_s for coded in each),
            sum(coded.decode_s for coded in each),
        )
    within = [each for each in _RATES[name] if each >= rate]
    file_rate = min(within, default=_RATES[name][-1])
    given = np.ascontiguousarray(_resampled(np.clip(samples, -1, 1), rate, file_rate).T)

    def encode(index: int) -> bytes:
        return _audio_bytes(given, name, file_rate, (_STEPS - 1 - index) / (_STEPS - 1))

    try:
        data, encode_s = _within(encode, _STEPS, bits)
        start = time.perf_counter()
        decoded = _decoded(data)
    except soundfile.SoundFileError as error:
        raise MediaError(f"{TITLES[name]} cannot hold this: {error}") from error
    decode_s = time.perf_counter() - start
    y = _resampled(np.ascontiguousarray(decoded), file_rate, rate)[:, :length]
    # Padding of the last frame is cut by now; what a decoder leaves out at the end is silence.
    y = np.pad(y, ((0, 0), (0, length - y.shape[1])))
    return Coded(y, 8 * len(data), encode_s, decode_s)


def _within(encode: Callable[[int], bytes], steps: int, bits: float) -> tuple[bytes, float]:
    """Finds the largest file within the bits, and its seconds; step 0 is the smallest file."""

    def timed(step: int) -> tuple[bytes, float]:
        start = time.perf_counter()
        data = encode(step)
        return data, time.perf_counter() - start

    low, high = 0, steps - 1
    best = timed(low)
    if 8 * len(best[0]) > bits:
        return best
    while low < high:
        middle = (low + high + 1) // 2
        tried = timed(middle)
        if 8 * len(tried[0]) <= bits:
            best, low = tried, middle
        else:
            high = middle - 1
    return best


def _audio_bytes(samples: np.ndarray, name: str, rate: int, level: float) -> bytes:
    """Returns (L, C) samples as a file; level 0 is the largest, 1 the smallest."""
    container, subtype = _ENCODINGS[name]
    out = io.BytesIO()
    options = {"bitrate_mode": "AVERAGE"} if name == "mp3" else {}
    with soundfile.SoundFile(
        out,
        "w",
        rate,
        samples.shape[1],
        format=container,
        subtype=subtype,
        compression_level=min(level, _LOWEST[name]),
        **options,
    ) as sound:
        for start in range(0, len(samples), _WRITE_FRAMES):
            sound.write(samples[start : start + _WRITE_FRAMES])
    if container == "OGG":
        fix_serial(out)
    return out.getvalue()


def _decoded(data: bytes) -> np.ndarray:
    """Returns all samples (C, L) of a file."""
    pieces = []
    with Forward(io.BytesIO(data)) as sound:
        while len(piece := sound.read(_WRITE_FRAMES, dtype="float32", always_2d=True)):
            pieces.append(piece)
    return np.concatenate(pieces).T if pieces else np.zeros((sound.channels, 0), np.float32)


def _resampled(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    if from_hz == to_hz:
        return samples
    resampler = Resampler(from_hz, to_hz, channels=len(samples))
    blocks = [*resampler.push(samples.astype(np.float32)), *resampler.finish()]
    return np.concatenate(blocks, axis=1)
