"""Channels of recordings ⇄ what a model codes at once: each channel, or all of them together."""

from __future__ import annotations

import numpy as np

from vqtok.codes.header import Header
from vqtok.errors import CodesError, MediaError


def grouped(samples: np.ndarray, together: int, *, name: str) -> np.ndarray:
    """(C, n) samples → (B, together, n): B is C for mono models, and 1 for stereo ones.

    A mono recording is given to a stereo model as two equal channels.

    Raises:
        MediaError: more channels than the model takes.
    """
    if together == 1:
        return samples[:, None]
    if len(samples) == 1:
        return np.repeat(samples[None], together, axis=1)
    if len(samples) != together:
        raise MediaError(
            f"{name}: {len(samples)} channels, this model codes {together} together",
            hint="--mono mixes them down to one",
        )
    return samples[None]


def ungrouped(decoded: np.ndarray, channels: int) -> np.ndarray:
    """(B, together, n) → (C, n); of a recording that was mono, the mean of the equal channels."""
    if channels == 1 and decoded.shape[1] > 1:
        return np.asarray(decoded.mean(axis=1))
    return decoded.reshape(-1, decoded.shape[-1])


def coded(channels: int, together: int) -> int:
    """Items, each with codes of its own, of a recording with so many channels."""
    return channels if together == 1 else 1


def restored(header: Header) -> int:
    """Channels of the recording that codes are decoded to.

    Raises:
        CodesError: a header that contradicts itself.
    """
    together = header.spec.channels
    found = header.source.channels
    if together == 1:
        return header.channels
    if header.channels != 1 or found not in (None, 1, together):
        raise CodesError("damaged header: its channels contradict each other")
    return together if found is None else found
