"""Our own readers of headers: any chunks, of any declared sizes, in bounded steps."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import MediaError
from vqtok.media import kinds
from vqtok.media.audio import headers as audio_headers
from vqtok.media.audio import mpeg
from vqtok.media.audio.ogg import fix_serial
from vqtok.media.image import webp

SIZES = st.one_of(
    st.integers(0, 40), st.sampled_from((2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1, 0xFFFFF000))
)
NAMES = st.sampled_from((b"fmt ", b"data", b"ds64", b"LIST", b"COMM", b"SSND", b"\0\0\0\0"))
CHUNKS = st.lists(st.tuples(NAMES, SIZES, st.binary(max_size=40)), max_size=8)
HEADS = {
    "WAV": (b"RIFF", b"RIFX", b"RF64"),
    "AIFF": (b"FORM",),
}


@pytest.mark.parametrize("format", sorted(HEADS))
@given(st.data())
def test_any_chunks_are_whole_or_a_clean_error(format: str, data: st.DataObject):
    head = data.draw(st.sampled_from(HEADS[format]))
    order = ">" if head in (b"RIFX", b"FORM") else "<"
    kind = b"AIFF" if format == "AIFF" else b"WAVE"
    body = b"".join(
        name + struct.pack(order + "I", size) + content for name, size, content in data.draw(CHUNKS)
    )
    whole = head + struct.pack(order + "I", data.draw(SIZES)) + kind + body
    try:
        stream = audio_headers.complete(io.BytesIO(whole), format, "a")
    except MediaError as error:
        assert str(error).startswith("a: truncated")
    else:
        stream.seek(0)
        assert len(stream.read()) == len(whole)


@given(st.lists(st.one_of(
    st.binary(max_size=30),
    st.builds(lambda size: b"ID3\x04\0\0" + bytes(size), st.lists(
        st.integers(0, 127), min_size=4, max_size=4)),
    st.builds(lambda a, b: bytes((0xFF, a, b, 0)) + b"Xing" + bytes(36),
              st.integers(0xE0, 255), st.integers(0, 255)),
)))  # fmt: skip
def test_any_mpeg_frames_are_counted_or_a_clean_error(parts: list[bytes]):
    data = b"".join(parts)
    stream = io.BytesIO(data)
    start = mpeg.audio_start(stream)
    mpeg.stream_header(stream, start)
    mpeg.made_header(stream, start)
    try:
        audio_headers.complete(stream, "MP3", "a")
        audio_headers.complete(stream, "OGG", "a")
    except MediaError as error:
        assert str(error).startswith("a: truncated")


@given(st.binary(max_size=64))
def test_any_bytes_have_a_canvas_and_a_kind_or_none(data: bytes):
    for kind in (b"VP8X", b"VP8L", b"VP8 ", b"ALPH"):
        size = webp.canvas((b"RIFF\0\0\0\0WEBP" + kind + data)[: webp.HEAD_BYTES])
        assert size is None or all(0 <= side <= 1 << 24 for side in size)
    assert kinds.sniff(data) in (None, "image", "audio", "codes")


@given(st.lists(st.binary(max_size=40)))
def test_any_ogg_pages_get_a_serial_number_and_keep_their_length(parts: list[bytes]):
    data = b"".join(b"OggS" + part for part in parts)
    stream = io.BytesIO(data)
    fix_serial(stream)
    assert len(stream.getvalue()) == len(data)
