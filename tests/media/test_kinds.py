"""A file's kind comes from its suffix, else from its first bytes."""

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


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
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
    starts = ("BM", "GIF8", "II*", "RIFF", "RF64", "RIFX", "FORM", "OggS", "fLaC", "ID3")
    if not text.startswith(starts):
        assert sniff(text.encode()) is None


@given(st.binary(max_size=20))
def test_no_bytes_make_it_fail(head: bytes) -> None:
    sniff(head)


def test_suffix_beats_bytes_and_case_does_not_matter(tmp_path: Path) -> None:
    for name, kind in (("a.PNG", "image"), ("a.Flac", "audio"), ("a.npy", "codes")):
        (tmp_path / name).write_bytes(b"RIFF....WAVE")
        assert modality(tmp_path / name) == kind


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
