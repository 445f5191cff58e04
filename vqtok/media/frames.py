"""What every block of samples goes through, however it was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from vqtok.errors import MediaError


def check_finite(frames: np.ndarray, position: int, *, rate: int, name: str) -> None:
    """Refuse NaN and infinite samples.

    Args:
        frames: (n, C).
        position: Of the first one in the recording.
        rate: Hz, to say when.
        name: Of the file.

    Raises:
        MediaError: naming the first such sample.
    """
    finite = np.isfinite(frames)
    if finite.all():
        return
    frame, channel = (int(each) for each in np.argwhere(~finite)[0])
    at = (position + frame) / rate
    value = frames[frame, channel]
    raise MediaError(f"{name}: sample is {value} at {at:.3f} s, channel {channel + 1}")


def mixed(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """(C, n) pieces → (1, n), the mean of the channels."""
    for piece in pieces:
        # One addition after the other, so that the sum's order never depends on the layout.
        total = piece[0].copy()
        for channel in piece[1:]:
            total += channel
        yield (total / np.float32(len(piece)))[None]
