"""What every block of samples goes through, however it was read; and the order of channels.

Ours is that of WAV: left, right, centre, low frequencies, back, side. Vorbis and Opus have another
one from three channels on (Vorbis I, section 4.3.9; RFC 7845, section 5.1.1.2), and libsndfile
passes it on as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from vqtok.errors import MediaError

LOUDEST = 4.0
"""Largest absolute value of a sample, 12 dB over full scale: what is mixed, resampled and decoded
overshoots, while integers that were stored as floats lie far beyond."""

_INTEGERS = (1 << 15, 1 << 23, 1 << 31)
"""Full scale of integers of 16, 24 and 32 bits."""


def check_samples(frames: np.ndarray, position: int, *, rate: int, name: str) -> None:
    """Refuse samples that are NaN, infinite or far beyond full scale.

    Args:
        frames: (n, C).
        position: Of the first one in the recording.
        rate: Hz, to say when.
        name: Of the file.

    Raises:
        MediaError: naming the first such sample.
    """
    sound = np.abs(frames) <= LOUDEST  # NaN is not
    if sound.all():
        return
    frame, channel = (int(each) for each in np.argwhere(~sound)[0])
    at = (position + frame) / rate
    value = frames[frame, channel]
    what = f"sample is {value} at {at:.3f} s, channel {channel + 1}"
    if not np.isfinite(value):
        raise MediaError(name, what)
    peak = np.abs(frames[np.isfinite(frames)]).max()
    full = next((each for each in _INTEGERS if LOUDEST * each >= peak), _INTEGERS[-1])
    raise MediaError(
        name,
        f"{what}, where full scale is 1",
        # As floats to the end: what ffmpeg turns into integers it clips without a word.
        hint=f"ffmpeg -i FILE -af volume=1/{full} -c:a pcm_f32le -f wav - | vqtok encode - "
        "scales samples that were integers",
    )


def mixed(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Maps (C, n) pieces → (1, n), the mean of the channels."""
    for piece in pieces:
        # One addition after the other, so that the sum's order never depends on the layout.
        total = piece[0].copy()
        for channel in piece[1:]:
            total += channel
        yield (total / np.float32(len(piece)))[None]


# For each channel in our order, where it is in Vorbis's.
_IN_VORBIS = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}
SURROUND = ("VORBIS", "OPUS")
"""Encodings, as libsndfile names them, that have this order."""


def from_file(frames: np.ndarray, subtype: str) -> np.ndarray:
    """Bring (n, C) samples of an encoding into our order."""
    order = _IN_VORBIS.get(frames.shape[1]) if subtype in SURROUND else None
    return frames if order is None else frames[:, order]


def to_file(frames: np.ndarray, subtype: str) -> np.ndarray:
    """Bring (n, C) samples in our order into that of an encoding."""
    order = _IN_VORBIS.get(frames.shape[1]) if subtype in SURROUND else None
    return frames if order is None else frames[:, np.argsort(order)]
