"""A classical codec in the place of a tokenizer: it has no codes, but bits to keep within."""

from __future__ import annotations

import numpy as np

from vqtok.codes.spec import CodeSpec
from vqtok.media import classical


class Classical:
    """JPEG, WebP, AVIF, Opus or MP3, as an evaluation wants it.

    Args:
        name: As typed after -m: "jpeg".
        like: Name of the model whose bits it gets.
        rate_hz: Of recordings: the rate of that model; both are compared at it.
        stored: Whether its bits are those of packed files, or nominal.

    Raises:
        UsageError: Pillow or libsndfile does not have it here.
    """

    def __init__(
        self, name: str, *, like: str, rate_hz: float | None = None, stored: bool = False
    ) -> None:
        classical.require(name)
        kind = classical.KINDS[name]
        self.name, self.like, self.stored = name, like, stored
        self.spec = CodeSpec("image" if kind == "image" else "audio", (), rate_hz)

    @property
    def protocol(self) -> str:
        """What its row means, one sentence."""
        what = "whole packed files" if self.stored else "log2 K each, no headers"
        return (
            f"{classical.TITLES[self.name]} ({classical.SETTINGS[self.name]}): the whole file with "
            f"its headers, at the highest setting that takes no more bits than the codes of "
            f"{self.like} ({what}); where none does, its lowest."
        )

    def code(
        self, x: np.ndarray, *, bits: float, grey: bool = False
    ) -> tuple[np.ndarray, classical.Coded]:
        """Encode and decode one signal.

        Args:
            x: (1, 3, H, W) or (C, 1, n) in [-1, 1].
            bits: To keep within, where it can be.
            grey: Of pictures: without colour.

        Returns:
            The reconstruction, as x, and what is known of it.
        """
        if self.spec.modality == "image":
            coded = classical.code_image(x[0], self.name, bits, grey=grey)
            return coded.signal[None], coded
        rate = round(self.spec.rate or 0)
        coded = classical.code_audio(x[:, 0], self.name, bits, rate=rate)
        return coded.signal[:, None], coded
