"""Which kind of media a file is: by its suffix first, then by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["image", "audio", "codes"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")
CODES_SUFFIXES = (".npy", ".safetensors")
READ_ONLY = (".gif",)
"""What is read but not written: 256 colours are too few for a reconstruction."""

MODALITIES: dict[str, Kind] = {
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys(AUDIO_SUFFIXES, "audio"),
    **dict.fromkeys(CODES_SUFFIXES, "codes"),
}

HEAD_BYTES = 16  # what ``sniff`` needs

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"fLaC", "FLAC"),
    (b"OggS", "OGG"),
    (b"ID3", "MP3"),
    (b"\x93NUMPY", "npy"),
)
# The bytes at offset 8 that tell the members of a chunked container apart.
_CONTAINERS = {
    (b"RIFF", b"WEBP"): "WebP",
    (b"RIFF", b"WAVE"): "WAV",
    (b"RIFX", b"WAVE"): "WAV",
    (b"RF64", b"WAVE"): "WAV",
    (b"FORM", b"AIFF"): "AIFF",
    (b"FORM", b"AIFC"): "AIFF",
}
_KIND_OF_FORMAT: dict[str, Kind] = {
    **dict.fromkeys(("PNG", "JPEG", "GIF", "TIFF", "BMP", "WebP"), "image"),
    **dict.fromkeys(("WAV", "FLAC", "OGG", "MP3", "AIFF"), "audio"),
    **dict.fromkeys(("npy", "safetensors"), "codes"),
}
# A safetensors file starts with its header's length; more than this is no header.
_MAX_SAFETENSORS_HEADER = 100_000_000


def sniff_format(head: bytes) -> str | None:
    """Name of the file format that the first ``HEAD_BYTES`` bytes show ("PNG", …), or None."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    container = _CONTAINERS.get((head[:4], head[8:12]))
    if container is not None:
        return container
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_SAFETENSORS_HEADER:
        return "safetensors"
    # MPEG frame sync, 11 bits; layer 00 is AAC in ADTS, which is no MP3.
    if len(head) >= 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06:
        return "MP3"
    return None


def sniff(head: bytes) -> Kind | None:
    """Kind of media that the first ``HEAD_BYTES`` bytes of a file show, or None."""
    name = sniff_format(head)
    return None if name is None else _KIND_OF_FORMAT[name]


def modality(path: Path) -> Kind | None:
    """Kind of a file by its suffix, or else by its first bytes; None if neither tells."""
    known = MODALITIES.get(path.suffix.lower())
    if known is not None:
        return known
    try:
        # Not a pipe or a device: what is read from those is gone.
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            return sniff(stream.read(HEAD_BYTES))
    except OSError:
        return None


def supported(kind: Kind, *, writing: bool = False) -> str:
    """Comma-separated suffixes of a kind that can be read, or written, without dots, for hints."""
    left_out = READ_ONLY if writing else ()
    found = (suffix for suffix, each in MODALITIES.items() if each == kind)
    return ", ".join(suffix[1:] for suffix in found if suffix not in left_out)
