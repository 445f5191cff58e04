"""What a picture's file says about itself."""

from __future__ import annotations

from dataclasses import dataclass

_PARTS = {"TIFF": "pages", "JPEG": "pictures", "HEIC": "pictures"}
"""What the frames of a file are called, where it is no animation."""


@dataclass(frozen=True)
class ImageInfo:
    """What a file says about itself.

    Attributes:
        width, height: Pixels, after the EXIF orientation.
        mode: Pillow's name of the pixel format in the file: "RGB", "L", "P", "CMYK", ….
        format: "PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIC" or "JPEG 2000".
        frames: Frames of an animation or pages; only the first is read.
        has_alpha: An alpha channel, or a transparent palette entry or colour.
        bits: Bits per sample in the file.
        spare: Channels beside colour and alpha.
    """

    width: int
    height: int
    mode: str
    format: str
    frames: int
    has_alpha: bool
    bits: int
    spare: int = 0

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of the file does not come back from its codes, in words."""
        notes = []
        if self.frames > 1:
            notes.append(f"1 of {self.frames} {_PARTS.get(self.format, 'frames')} is taken")
        if self.bits > 8:
            notes.append(f"{self.bits} bits per sample come back as 8")
        if self.has_alpha:
            notes.append("transparency is laid over the background")
        if self.spare:
            what = "1 channel" if self.spare == 1 else f"{self.spare} channels"
            notes.append(f"{what} beside the colours left out")
        return tuple(notes)
