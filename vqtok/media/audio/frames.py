"""What every block of samples goes through, however it was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from vqtok.errors import MediaError

# Integers of 32 bits as floats; sums and filters of larger samples may become infinite.
_LOUDEST = 2.0**31


def check_finite(frames: np.ndarray, position: int, *, rate: int, name: str) -> None:
    """Refuse samples that are NaN, infinite or beyond any scale.

    Args:
        frames: (n, C).
        position: Of the first one in the recording.
        rate: Hz, to say when.
        name: Of the file.

    Raises:
        MediaError: naming the first such sample.
    """
    sound = np.abs(frames) <= _LOUDEST  # NaN is not
    if sound.all():
        return
    frame, channel = (int(each) for each in np.argwhere(~sound)[0])
    at = (position + frame) / rate
    value = frames[frame, channel]
    raise MediaError(name, f"sample is {value} at {at:.3f} s, channel {channel + 1}")


def mixed(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Maps (C, n) pieces → (1, n), the mean of the channels."""
    for piece in pieces:
        # One addition after the other, so that the sum's order never depends on the layout.
        total = piece[0].copy()
        for channel in piece[1:]:
            total += channel
        yield (total / np.float32(len(piece)))[None]
