"""Which kind of media a file is, by its first bytes and by its suffix; and a count of the rest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from vqtok.errors import MediaError

Kind = Literal["image", "audio", "codes"]

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".webp", ".tif", ".tiff", ".bmp"),
    *(".gif", ".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx"),
)
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".mp2"),
    *(".au", ".snd", ".caf", ".w64"),
    *(".m4a", ".m4b", ".aac", ".wma", ".ac3", ".eac3", ".amr", ".mka", ".weba", ".spx", ".tta"),
    ".wv",
)
FILM_SUFFIXES = (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".wmv", ".avi", ".flv")
"""The sound of a film is read if the film is named; in a directory it would be one among photos."""
CODES_SUFFIXES = (".npy", ".safetensors", ".vqz")
READ_ONLY = (
    *(".gif", ".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx"),
    *(suffix for suffix in AUDIO_SUFFIXES[8:]),
)
"""What is read but not written: GIF has too few colours for a reconstruction, the others too few
readers; and what sound is not written in."""
MAX_PIXELS = 2 * (1024**3 // 4 // 3)
"""Of a picture that is read, unless more are allowed: twice Pillow's warning limit, where Pillow
itself would raise. 179 megapixels, 2 GiB as float32."""

MODALITIES: dict[str, Kind] = {
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys(AUDIO_SUFFIXES, "audio"),
    **dict.fromkeys(CODES_SUFFIXES, "codes"),
}

_COMPRESSED_TARS = (
    *(".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2"),
    *(".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4"),
)

HEAD_BYTES = 64  # what ``sniff`` needs

NAMED = 1000
"""Paths of what is left out that are kept; the rest is only counted."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"fLaC", "FLAC"),
    (b"OggS", "OGG"),
    (b"ID3", "MP3"),
    (b"\x93NUMPY", "npy"),
    (b"\x93VQZ", "vqz"),
    (b".snd", "AU"),
    (b"dns.", "AU"),
    (b"caff\0\1", "CAF"),
    (bytes.fromhex("726966662e91cf11a5d628db04c10000"), "W64"),
    (b"\x1a\x45\xdf\xa3", "Matroska"),
    (bytes.fromhex("3026b2758e66cf11"), "ASF"),
    (b"#!AMR", "AMR"),
    (b"wvpk", "WavPack"),
    (b"TTA1", "TTA"),
    (b"FLV\x01", "FLV"),
)
# The bytes at offset 8 that tell the members of a chunked container apart.
_CONTAINERS = {
    (b"RIFF", b"WEBP"): "WebP",
    (b"RIFF", b"WAVE"): "WAV",
    (b"RIFX", b"WAVE"): "WAV",
    (b"RF64", b"WAVE"): "WAV",
    (b"BW64", b"WAVE"): "WAV",
    (b"FORM", b"AIFF"): "AIFF",
    (b"FORM", b"AIFC"): "AIFF",
    (b"RIFF", b"AVI "): "AVI",
}
# Brands of ISO base media files (ISO/IEC 14496-12) that hold pictures: 23008-12 (HEIF), AVIF 1.1.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm"), "HEIC"),
}
_ANY_PICTURE = (b"mif1", b"msf1", b"mif2", b"miaf")
"""Brands that leave it to the compatible ones what is inside."""

# Sizes of a BMP's second header: "BM" alone begins many a text.
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)

LIBAV_FORMATS = ("MP4", "Matroska", "ASF", "AAC", "AC-3", "AMR", "WavPack", "TTA", "FLV", "AVI")
"""Sound that ``vqtok[av]`` reads."""
AUDIO_FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", *LIBAV_FORMATS)
_KIND_OF_FORMAT: dict[str, Kind] = {
    **dict.fromkeys(("PNG", "JPEG", "GIF", "TIFF", "BMP", "WebP", "AVIF", "HEIC"), "image"),
    "JPEG 2000": "image",
    **dict.fromkeys(AUDIO_FORMATS, "audio"),
    **dict.fromkeys(("npy", "safetensors", "vqz"), "codes"),
}
# A safetensors file starts with its header's length; more than this is no header.
_MAX_SAFETENSORS_HEADER = 100_000_000


def sniff_format(head: bytes) -> str | None:
    """Name of the file format that the first ``HEAD_BYTES`` bytes show ("PNG", …), or None."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    container = _CONTAINERS.get((head[:4], head[8:12])) or _picture_brand(head)
    if container is not None:
        return container
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_SAFETENSORS_HEADER:
        return "safetensors"
    return "MP4" if head[4:8] == b"ftyp" else _by_sync(head)


def _by_sync(head: bytes) -> str | None:
    """Name of a stream of frames without a container, by how the first one begins."""
    # MPEG frame sync, 11 bits; layer 00 is AAC in ADTS, which is no MP3.
    if len(head) >= 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        if head[1] & 0x06:
            return "MP3"
        # 12 bits of sync, one of 13 rates, and a frame that is longer than its header.
        is_adts = len(head) >= 7 and head[1] & 0xF0 == 0xF0 and (head[2] >> 2 & 15) < 13
        return "AAC" if is_adts and (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 > 7 else None
    # A sync word, and a version of the bit stream that there is (ETSI TS 102 366).
    return "AC-3" if head[:2] == b"\x0bw" and len(head) >= 6 and head[5] >> 3 <= 16 else None


def _picture_brand(head: bytes) -> str | None:
    """Name of the picture in an ISO base media file: by its brand, or the compatible ones."""
    if head[4:8] != b"ftyp":
        return None
    brand, end = head[8:12], int.from_bytes(head[:4], "big")
    if brand not in _ANY_PICTURE:
        return _BRANDS.get(brand)
    others = head[16 : min(end, len(head))]
    found = (_BRANDS.get(others[at : at + 4]) for at in range(0, len(others), 4))
    return next((each for each in found if each), "HEIC")


def sniff(head: bytes) -> Kind | None:
    """Kind of media that the first ``HEAD_BYTES`` bytes of a file show, or None."""
    return _KIND_OF_FORMAT.get(sniff_format(head) or "")


def modality(path: Path) -> Kind | None:
    """Kind of a file by its first bytes, or else by its suffix; None if neither tells."""
    return _by_bytes(path) or MODALITIES.get(path.suffix.lower())


def kind_in_directory(path: str, suffix: str) -> Kind | None:
    """Kind of a file among many: by its suffix, or else by its first bytes.

    A suffix is believed here, since a million files are not opened to plan what to do with them.
    Films are left out.

    Args:
        path: The file.
        suffix: In lower case, with its dot.
    """
    if suffix in FILM_SUFFIXES:
        return None
    return MODALITIES.get(suffix) or _by_bytes(Path(path))


def _by_bytes(path: Path) -> Kind | None:
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


def is_tar(path: Path) -> bool:
    """Checks whether a path is a tar by its suffix."""
    return path.suffix.lower() == ".tar"


def is_compressed_tar(path: Path) -> bool:
    """Checks whether a path is that of a compressed tar."""
    return path.name.lower().endswith(_COMPRESSED_TARS)


def compressed(path: Path) -> MediaError:
    """Explains why a compressed tar is not read."""
    return MediaError(
        path,
        "a compressed tar: its members cannot be read in place",
        hint="unpack it to a plain .tar first (gunzip, xz -d, zstd -d)",
    )


class LeftOut:
    """Counts files that lie in a directory and are not taken; names them as far as that is cheap.

    Attributes:
        counts: By kind, "audio", or by suffix where there is none: ".txt", "no suffix".
        paths: The first ``NAMED`` of them.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.paths: list[str] = []

    def add(self, path: str, kind: Kind | None = None) -> None:
        """Count a file.

        Args:
            path: The file.
            kind: What it holds, if that is another kind than is wanted.
        """
        self.counts[kind or suffix_of(path)] += 1
        if len(self.paths) < NAMED:
            self.paths.append(path)

    def take_back(self, paths: Iterable[str]) -> None:
        """Count files no longer: they are taken after all."""
        taken = {os.path.normpath(path) for path in paths}
        self.counts -= Counter(suffix_of(path) for path in taken)
        self.paths = [path for path in self.paths if os.path.normpath(path) not in taken]

    def without(self, taken: Collection[str]) -> LeftOut:
        """Returns the same, but for files of no known kind that are taken all the same."""
        made = LeftOut()
        made.counts = self.counts - Counter(suffix_of(path) for path in taken)
        made.paths = [path for path in self.paths if path not in taken]
        return made

    def __len__(self) -> int:
        return self.counts.total()

    def __str__(self) -> str:
        each = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return f"{len(self)} file{'' if len(self) == 1 else 's'}: {each}"


def suffix_of(path: str) -> str:
    """States how a file of no known kind is counted."""
    return os.path.splitext(path)[1].lower() or "no suffix"  # noqa: PTH122
