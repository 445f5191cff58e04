"""A file's kind comes from its first bytes, else from its suffix."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vqtok.media import audio, image
from vqtok.media.kinds import HEAD_BYTES, MODALITIES, modality, sniff, sniff_format


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_bytes_of_images_are_known(format: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, format=format)
    assert sniff(buffer.getvalue()[:HEAD_BYTES]) == "image"
    assert str(sniff_format(buffer.getvalue())).upper() == format


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"])
def test_bytes_of_audio_are_known(format: str) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(5000), 24000, format=format)
    assert sniff(buffer.getvalue()[:HEAD_BYTES]) == "audio"


def test_bytes_of_codes_are_known() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 4), np.uint16))
    assert sniff(buffer.getvalue()[:HEAD_BYTES]) == "codes"
    header = json.dumps({"codes": {"dtype": "U16", "shape": [0], "data_offsets": [0, 0]}}).encode()
    assert sniff((struct.pack("<Q", len(header)) + header)[:HEAD_BYTES]) == "codes"


@given(st.text(st.characters(min_codepoint=9, max_codepoint=126), max_size=40))
def test_plain_text_is_nothing_unless_it_starts_like_a_format(text: str) -> None:
    starts = ("GIF8", "II*", "RIFF", "RF64", "RIFX", "FORM", "OggS", "fLaC", "ID3")
    starts += ("\x0bw", "wvpk", "TTA1", "#!AMR")
    if not text.startswith(starts):
        assert sniff(text.encode()) is None


@given(st.binary(max_size=20))
def test_no_bytes_make_it_fail(head: bytes) -> None:
    sniff(head)


def test_bytes_beat_the_suffix_of_a_file_that_is_named(tmp_path: Path) -> None:
    for name in ("a.PNG", "a.Flac", "a.npy"):
        (tmp_path / name).write_bytes(b"RIFF....WAVE")
        assert modality(tmp_path / name) == "audio"


def test_the_suffix_tells_where_bytes_do_not_and_case_does_not_matter(tmp_path: Path) -> None:
    for name, kind in (("a.PNG", "image"), ("a.Flac", "audio"), ("a.npy", "codes")):
        (tmp_path / name).write_bytes(b"words")
        assert modality(tmp_path / name) == kind


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".jif", ".avif", ".heic", ".heif", ".hif"])
def test_names_that_phones_and_browsers_give_are_images(suffix: str) -> None:
    assert MODALITIES[suffix] == "image"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B", "AVIF"),
        (b"\0\0\0\x1cftypavis\0\0\0\0avismsf1miaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0miafavifMA1B", "AVIF"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miafavif", "HEIC"),  # behind the end of the brands
        (b"\0\0\0\x18ftypqt  \0\0\0\0qt  avif", "MP4"),
    ],
)
def test_brands_tell_pictures_in_iso_media_files(head: bytes, name: str | None) -> None:
    assert sniff_format(head) == name


def test_a_text_that_begins_like_a_bitmap_is_none() -> None:
    assert sniff(b"BMX racing began in the late 1960s in California, USA") is None


def test_without_a_suffix_the_bytes_tell(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"RIFF....WAVEfmt ")
    (tmp_path / "b.dat").write_text("words")
    assert modality(tmp_path / "a") == "audio"
    assert modality(tmp_path / "b.dat") is None
    assert modality(tmp_path / "none") is None
    assert modality(tmp_path) is None


def test_every_suffix_of_the_readers_has_its_kind() -> None:
    assert all(MODALITIES[suffix] == "image" for suffix in image.SUFFIXES)
    assert all(MODALITIES[suffix] == "audio" for suffix in audio.SUFFIXES)
