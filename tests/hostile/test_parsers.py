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
from vqtok.media.audio.links import links
from vqtok.media.audio.ogg import fix_serial
from vqtok.media.image import facts as image_facts

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
        assert "truncated" in str(error) or "behind the declared samples" in str(error)
    else:
        stream.seek(0)
        assert len(stream.read()) >= len(whole)  # a header with room for the size may be longer


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
    for part in mpeg.parts(stream):
        assert part.size <= len(data)
        mpeg.made_header(part.first, part.header or mpeg.StreamHeader(None, None))
    try:
        assert links(stream, "MP3", "a")
    except MediaError as error:
        assert "truncated" in str(error) or "free format" in str(error)


PAGES = st.builds(
    lambda flags, granule, serial, body: struct.pack(
        "<4sBBqIIIBB", b"OggS", 0, flags, granule, serial, 0, 0, 1, len(body)
    ) + body,
    st.integers(0, 7), st.integers(-2, 99), st.integers(0, 2),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"OpusHead", b"\x01vorbis", b"\x7fFLAC"])),
)  # fmt: skip


@given(st.lists(st.one_of(PAGES, st.binary(max_size=30))))
def test_any_ogg_pages_are_links_or_a_clean_error(parts: list[bytes]):
    try:
        found = links(io.BytesIO(b"".join(parts)), "OGG", "a")
    except MediaError as error:
        assert str(error).startswith("a: ")
    else:
        assert found


@given(st.binary(max_size=60), st.integers(0, 42), st.binary(max_size=6))
def test_any_flac_is_links(tail: bytes, at: int, noise: bytes):
    info = struct.pack(">HH6xQ16x", 4096, 4096, 44100 << 44 | 15 << 36 | 9)
    data = bytearray(b"fLaC\x80\0\0\x22" + info + b"\xff\xf8\xc9\x08\0" + tail)
    data[at : at + len(noise)] = noise
    assert links(io.BytesIO(bytes(data)), "FLAC", "a")


@given(st.binary(max_size=64))
def test_any_bytes_have_a_canvas_and_a_kind_or_none(data: bytes):
    for kind in (b"VP8X", b"VP8L", b"VP8 ", b"ALPH"):
        size = image_facts.webp_canvas(
            (b"RIFF\0\0\0\0WEBP" + kind + data)[: image_facts.WEBP_HEAD_BYTES]
        )
        assert size is None or all(0 <= side <= 1 << 24 for side in size)
    assert kinds.sniff(data) in (None, "image", "audio", "codes")


@given(st.lists(st.binary(max_size=40)))
def test_any_ogg_pages_get_a_serial_number_and_keep_their_length(parts: list[bytes]):
    data = b"".join(b"OggS" + part for part in parts)
    stream = io.BytesIO(data)
    fix_serial(stream)
    assert len(stream.getvalue()) == len(data)
