"""The stream form of ``.npy``: read while it is written, whole or refused."""

from __future__ import annotations

import io
import itertools
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import strategies as some
from tests.examples import examples
from vqtok.codes import files, streams
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError


def streamed(codes: Codes, header: Header, cuts: tuple[int, ...] = ()) -> bytes:
    out = io.BytesIO()
    writer = streams.Writer(out, replace(header, extent=()))
    for piece in np.split(np.asarray(codes.levels[0]), sorted(cuts), axis=-1):
        writer.write(piece)
    writer.close(header)
    return out.getvalue()


def stage(size: int = 200, channels: int = 1) -> tuple[Codes, Header]:
    """Codes without stages that fit into bytes: the shape that could be mistaken for text."""
    level = LevelSpec("codes", ("t",), size, (10,))
    spec = CodeSpec("audio", (level,), 8000.0, "0" * 16)
    array = np.random.default_rng(0).integers(0, size, (channels, 12))
    return Codes(spec, (array,), (117,)), Header(spec, (117,), "m", channels, Source(), "0.1.0")


WHOLE = [streamed(*some.audio(), (1, 3)), streamed(*some.audio(1, 2), (2,)), streamed(*stage())]


@given(
    channels=st.integers(1, 3),
    depth=st.integers(1, 4),
    cuts=st.lists(st.integers(0, 4)),
)
def test_a_stream_is_read_as_the_file_it_stands_for(channels, depth, cuts):
    codes, header = some.audio(channels, depth)
    plain = io.BytesIO()
    files.write(plain, codes, header, format="npy")
    expected, expected_header = files.read(io.BytesIO(plain.getvalue()))
    data = streamed(codes, header, tuple(cuts))
    found, found_header = files.read(io.BytesIO(data))
    np.testing.assert_array_equal(found.levels[0], expected.levels[0])
    assert (found.extent, found_header) == (expected.extent, expected_header)
    assert found.levels[0].dtype == expected.levels[0].dtype


@pytest.mark.parametrize("channels", [1, 2])
def test_bytes_without_stages_are_not_mistaken_for_text(channels):
    codes, header = stage(channels=channels)
    found, _ = files.read(io.BytesIO(streamed(codes, header, (3, 4))))
    np.testing.assert_array_equal(found.levels[0], codes.levels[0])


def test_files_and_headers_are_found_whatever_the_place(tmp_path: Path):
    path = tmp_path / "a.npy"
    codes, header = some.audio()
    path.write_bytes(streamed(codes, header, (1, 2, 3)))
    assert files.is_codes(path)
    assert files.read_header(path) == header
    assert files.read_foreign(path, header.spec)[1] == header
    np.testing.assert_array_equal(files.read(path)[0].levels[0], codes.levels[0])


def test_numpy_reads_the_records_one_after_the_other():
    codes, header = some.audio()
    stream = io.BytesIO(streamed(codes, header, (3,)))
    opening = json.loads(np.load(stream).tobytes())
    assert opening["stream"] == 1
    assert "extent" not in opening
    assert "length" not in opening["source"]
    pieces = [np.load(stream), np.load(stream)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=-1), codes.levels[0])
    assert json.loads(np.load(stream).tobytes()) == header.to_json()


def test_each_piece_is_there_before_the_next_is_made():
    ours, theirs = os.pipe()
    codes, header = some.audio()
    with open(ours, "rb") as source, open(theirs, "wb") as target:  # noqa: PTH123
        writer = streams.Writer(target, header)
        reader = streams.Reader(streams.Incoming(source))
        assert (reader.header.extent, reader.header.channels) == ((), 2)
        pieces = reader.pieces()
        for i in range(4):
            writer.write(np.asarray(codes.levels[0])[..., i : i + 1])
            np.testing.assert_array_equal(next(pieces), codes.levels[0][..., i : i + 1])
        writer.close(header)
        target.close()
        assert next(pieces, None) is None
        assert reader.closing == header


def test_a_plain_file_is_no_stream_and_is_read_on_from_its_start():
    out = io.BytesIO()
    files.write(out, *some.audio(), format="npy")
    incoming = streams.Incoming(io.BytesIO(out.getvalue()))
    assert not incoming.is_codes_stream()
    assert incoming.read(3) == b"\x93NU"
    assert incoming.read() == out.getvalue()[3:]


@pytest.mark.parametrize("data", WHOLE)
def test_a_stream_cut_anywhere_is_refused(data: bytes):
    for end in range(len(data)):
        with pytest.raises(CodesError):
            files.read(io.BytesIO(data[:end]))


@pytest.mark.parametrize("data", WHOLE)
def test_a_file_of_a_cut_stream_is_refused_by_its_header_alone(tmp_path: Path, data: bytes):
    path = tmp_path / "a.npy"
    for end in range(1, len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(CodesError):
            files.read_header(path)


@pytest.mark.parametrize("data", WHOLE)
def test_bytes_after_the_closing_record_are_refused(data: bytes):
    with pytest.raises(CodesError, match="after the closing record"):
        files.read(io.BytesIO(data + b"\0"))


@examples(30, many=400)
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=8),
)
def test_flipped_bytes_are_refused_or_read(data: bytes, flips: list[tuple[int, int]]):
    damaged = bytearray(data)
    for place, mask in flips:
        damaged[place % len(damaged)] ^= mask
    try:
        codes, head = files.read(io.BytesIO(bytes(damaged)))
    except CodesError as error:
        assert "\n" not in str(error)
    else:
        codes.check()
        Header.from_json(head.to_json())


def record(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def assembled(*parts: Any) -> bytes:
    """Records of arrays and of JSON, the first with a stream's mark."""
    texts = [
        record(np.frombuffer(part, np.uint8)) if isinstance(part, bytes) else record(part)
        for part in parts
    ]
    return b"".join(texts)


CODES, HEADER = some.audio()
PIECE = np.asarray(CODES.levels[0], dtype=np.uint16)
OPENING = streamed(CODES, HEADER)[128:].split(b"\x93NUMPY")[0]
CLOSING = json.dumps(HEADER.to_json()).encode()
OTHER = json.dumps(replace(HEADER, channels=1).to_json()).encode()
LONGER = json.dumps(replace(HEADER, extent=(1300,)).to_json()).encode()

MESSAGES = [
    (assembled(OPENING, PIECE), "truncated: the stream ends without its closing record"),
    (assembled(OPENING), "truncated: the stream ends without its closing record"),
    (assembled(OPENING, CLOSING), "0 frames found, 4 expected"),
    (assembled(OPENING, PIECE, LONGER), "4 frames found, 5 expected"),
    (assembled(OPENING, PIECE, OTHER), "closing record is of other codes"),
    (assembled(OPENING, PIECE[:1], CLOSING), "a piece of shape"),
    (assembled(OPENING, PIECE[:, :3], PIECE[:, :2], CLOSING), "pieces of different depths"),
    (assembled(OPENING, PIECE + 1024, CLOSING), "at or above codebook size"),
    (assembled(OPENING, PIECE.astype(np.float32), CLOSING), "codes are integers"),
    (assembled(OPENING, PIECE, b"{}"), "damaged header: 'format' is missing"),
    (assembled(b'{"stream":1,"channels":1}', PIECE, CLOSING), "damaged header"),
    (assembled(OPENING, PIECE)[:-20], "truncated"),
]


@pytest.mark.parametrize(("data", "message"), MESSAGES)
def test_each_fault_has_its_own_message(data: bytes, message: str):
    with pytest.raises(CodesError, match=message):
        files.read(io.BytesIO(data))


def test_a_record_of_absurd_size_is_refused_before_it_is_read():
    head = b"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 4, 99999999999)}"
    huge = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
    with pytest.raises(CodesError, match="impossible record"):
        files.read(io.BytesIO(assembled(OPENING) + huge))


def test_a_picture_has_no_stream_form():
    codes, header = some.image()
    with pytest.raises(CodesError, match="only audio codes of one level can be streamed"):
        streamed(codes, header)


def test_long_pieces_are_cut_and_read_back():
    level = LevelSpec("codes", ("q", "t"), 1024, (320,), 8)
    spec = CodeSpec("audio", (level,), 24000.0, "0" * 16)
    array = np.random.default_rng(0).integers(0, 1024, (2, 8, 100_000))
    header = Header(spec, (32_000_000,), "m", 2, Source(), "0.1.0")
    data = streamed(Codes(spec, (array,), header.extent), header)
    assert data.count(b"\x93NUMPY") == 6  # four pieces of 1 MiB at most
    np.testing.assert_array_equal(files.read(io.BytesIO(data))[0].levels[0], array)


def test_a_reader_that_is_fed_slowly_waits(tmp_path: Path):
    ours, theirs = os.pipe()
    data = WHOLE[0]

    def feed() -> None:
        for at in range(0, len(data), 7):
            os.write(theirs, data[at : at + 7])
        os.close(theirs)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with open(ours, "rb", buffering=0) as source:  # noqa: PTH123
        found, _ = files.read(source)
    feeder.join()
    np.testing.assert_array_equal(found.levels[0], CODES.levels[0])


class Unending(io.RawIOBase):
    """A pipe that begins as it should and then says the same for ever; what is taken is counted."""

    def __init__(self, begin: bytes, *, then: bytes) -> None:
        super().__init__()
        self._parts = itertools.chain([begin], itertools.repeat(then))
        self._rest, self.taken = b"", 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._parts)
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        self.taken += len(part)
        assert self.taken < 1 << 24, "it reads on and on"
        return len(part)


def saved(codes: Codes, header: Header, *, format: str) -> bytes:
    out = io.BytesIO()
    files.write(out, codes, header, format=format)
    return out.getvalue()


@pytest.mark.parametrize("format", ["npy", "safetensors", "stream", "plain"])
@pytest.mark.parametrize("then", ["zeros", "itself"])
def test_codes_that_do_not_end_where_they_say_are_refused_at_once(format: str, then: str) -> None:
    codes, header = some.audio()
    if format == "stream":
        begin = streamed(codes, header)
    elif format == "plain":
        out = io.BytesIO()
        np.save(out, codes.levels[0])
        begin = out.getvalue()
    else:
        begin = saved(codes, header, format=format)
    pipe = Unending(begin, then=bytes(100) if then == "zeros" else begin)
    with pytest.raises(CodesError, match=r"damaged|truncated"):
        files.read_plain(pipe)  # type: ignore[arg-type]
    # Of what follows, one more array at most: it could have been the header.
    assert pipe.taken <= 2 * len(begin) + 256


def test_pieces_without_codes_are_refused() -> None:
    # They could come for ever and never make a sound.
    codes, header = some.audio()
    begin, empty = io.BytesIO(), io.BytesIO()
    streams.Writer(begin, replace(header, extent=()))
    np.save(empty, codes.numpy().levels[0][..., :0])
    pipe = Unending(begin.getvalue(), then=empty.getvalue())
    reader = streams.Reader(streams.Incoming(pipe))  # type: ignore[arg-type]
    with pytest.raises(CodesError, match="without codes"):
        list(reader.pieces())


def test_codes_without_end_are_held_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_HELD", 1000)
    codes, header = some.audio()
    begin, piece = io.BytesIO(), io.BytesIO()
    streams.Writer(begin, replace(header, extent=()))
    np.save(piece, codes.numpy().levels[0])
    pipe = Unending(begin.getvalue(), then=piece.getvalue())
    with pytest.raises(CodesError, match="more than 1000 bytes"):
        files.read(pipe)  # type: ignore[arg-type]
    assert pipe.taken < 1000 * len(piece.getvalue())


@pytest.mark.parametrize("format", ["npy", "safetensors"])
def test_a_pipe_that_promises_too_much_is_refused_before_it_is_read(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_HELD", 100)
    begin = saved(*some.audio(), format=format)
    pipe = Unending(begin, then=b"\0")
    with pytest.raises(CodesError, match="at most 100"):
        files.read(pipe)  # type: ignore[arg-type]
    assert pipe.taken <= len(begin)
