"""The order of channels. Ours is that of WAV: left, right, centre, low frequencies, back, side.

Vorbis and Opus have another one from three channels on (Vorbis I, section 4.3.9; RFC 7845, section
5.1.1.2), and libsndfile passes it on as it is.
"""

from __future__ import annotations

import numpy as np

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
