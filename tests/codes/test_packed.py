"""Packed codes: lossless, as small as their model says, and damage is told in one line."""

from __future__ import annotations

import io
import math
import random
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codes import strategies as some
from vqtok.codes import files
from vqtok.codes import header as headers
from vqtok.codes.container import Codes
from vqtok.codes.files import Header, Source
from vqtok.codes.packed import MAGIC, order0, rans, vqz
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError


def packed(codes: Codes, header: Header) -> bytes:
    stream = io.BytesIO()
    files.write(stream, codes, header, format="vqz")
    return stream.getvalue()


def tables(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Frequencies from nearly even to nearly certain."""
    weights = random.integers(0, 1 << random.integers(1, 20), (count, size))
    weights[:, 0] += 1
    return rans.frequencies(weights.astype(np.int64))


def decoded_one_by_one(data: bytes, batches: list[np.ndarray]) -> list[list[int]]:
    """The textbook's decoder (Duda 2013), a lane and a symbol at a time, in Python's integers."""
    count = sum(map(len, batches))
    lanes = rans.lanes_for(count)
    states = [int.from_bytes(data[5 * i : 5 * i + 5], "little") for i in range(lanes)]
    words = iter(
        int.from_bytes(data[at : at + 2], "little") for at in range(5 * lanes, len(data), 2)
    )
    found = []
    for frequencies in batches:
        symbols = []
        for number, row in enumerate(frequencies.tolist()):
            lane = number % lanes
            slot, symbol, start = states[lane] % 65536, 0, 0
            while start + row[symbol] <= slot:
                start += row[symbol]
                symbol += 1
            states[lane] = row[symbol] * (states[lane] // 65536) + slot - start
            if states[lane] < 1 << 24:
                states[lane] = states[lane] * 65536 + next(words)
            symbols.append(symbol)
        found.append(symbols)
    assert states == [1 << 24] * lanes
    assert next(words, None) is None
    return found


@settings(max_examples=30)
@given(st.integers(0, 999), st.lists(st.integers(0, 900), min_size=1, max_size=4))
def test_what_is_coded_is_found_again_by_lanes_and_one_by_one(seed: int, sizes: list[int]):
    rng = np.random.default_rng(seed)
    batches = [tables(rng, size, int(rng.integers(2, 40))) for size in sizes]
    symbols = [rng.integers(0, each.shape[1], len(each)) for each in batches]
    writer, counter = rans.Writer(), rans.Counter()
    for frequencies, each in zip(batches, symbols, strict=True):
        writer.code(frequencies, each)
        counter.code(frequencies, each)
    data = writer.finish()
    reader = rans.Reader(data, sum(sizes))
    for frequencies, each in zip(batches, symbols, strict=True):
        found = reader.code(frequencies, np.zeros_like(each))
        np.testing.assert_array_equal(found, each)
    reader.finish()
    assert decoded_one_by_one(data, batches) == [each.tolist() for each in symbols]
    # The states' bytes, one word a lane, and what 8 bits of a state's quotient lose.
    lanes = rans.lanes_for(sum(sizes))
    assert len(data) * 8 <= counter.bits * 1.002 + lanes * 56
    assert len(data) * 8 >= counter.bits


@pytest.mark.parametrize("sizes", [(1,), (700, 5, 900), (30_000, 3)])
def test_one_by_one_and_by_lanes_are_the_same_bytes(sizes, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    batches = [tables(rng, 1 if size == 700 else size, 7) for size in sizes]
    symbols = [rng.integers(0, 7, size) for size in sizes]
    made = []
    for few in (0, 1000):
        monkeypatch.setattr(rans, "_FEW", few)
        writer = rans.Writer()
        for frequencies, each in zip(batches, symbols, strict=True):
            writer.code(frequencies, each)
        made.append(writer.finish())
        reader = rans.Reader(made[0], sum(sizes))
        for frequencies, each in zip(batches, symbols, strict=True):
            np.testing.assert_array_equal(reader.code(frequencies, np.zeros_like(each)), each)
        reader.finish()
    assert made[0] == made[1]


@given(st.integers(0, 999), st.integers(2, 300))
def test_frequencies_are_positive_and_sum_to_the_total(seed: int, size: int):
    made = tables(np.random.default_rng(seed), 5, size)
    assert (made >= max(1, rans.RARE // size)).all()
    assert (made.sum(axis=1) == rans.TOTAL).all()


def test_frequencies_follow_the_weights():
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 1 << 20, (50, 64))
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rans.frequencies(weights) / rans.TOTAL, expected, atol=0.005)


@given(some.items())
def test_packed_codes_come_back_with_their_header(item: tuple[Codes, Header]):
    codes, header = item
    data = packed(codes, header)
    found, found_header = files.read(io.BytesIO(data))
    assert found_header == header
    for level, a, b in zip(codes.spec.levels, found.levels, codes.levels, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == level.dtype
    assert packed(found, found_header) == data


def picture(array: np.ndarray, size: int) -> tuple[Codes, Header]:
    level = LevelSpec("codes", ("h", "w"), size, (8, 8))
    spec = CodeSpec("image", (level,), fingerprint="0123456789abcdef")
    extent = (array.shape[0] * 8, array.shape[1] * 8)
    codes = Codes(spec, (array[None],), extent)
    source = Source("a photo.jpg", mode="RGB", format="JPEG")
    return codes, Header(spec, extent, "image-f8", 1, source, "0.2.0")


@pytest.mark.parametrize("size", [2, 3, 512, 1000, 8192, 16384, 65536, 1 << 18])
def test_codes_without_a_pattern_cost_what_they_nominally_do(size: int):
    array = np.random.default_rng(0).integers(0, size, (64, 96))
    data = packed(*picture(array, size))
    nominal = array.size * math.log2(size) / 8
    assert len(data) < nominal * 1.012 + 200


def test_codes_that_come_back_cost_less():
    random = np.random.default_rng(0)
    array = random.permutation(8192)[random.geometric(0.05, (64, 96)) % 8192]
    found = 8 * len(packed(*picture(array, 8192))) / array.size
    values, counts = np.unique(array, return_counts=True)
    assert len(values) > 100
    entropy = -float((counts / array.size * np.log2(counts / array.size)).sum())
    assert found < entropy + 2.0 < 13.0


def test_a_header_of_a_shipped_model_takes_few_bytes():
    codes, header = picture(np.zeros((64, 96), np.int64), 8192)
    opened = vqz.opened(packed(codes, header))
    assert len(packed(codes, header)) - len(opened.data) < 80


WHOLE = [packed(*item) for item in (some.image(), some.audio(), some.hierarchy())]


@pytest.mark.parametrize("data", WHOLE)
def test_a_packed_file_cut_anywhere_or_longer_is_refused(data: bytes):
    for other in (*(data[:end] for end in range(len(data))), data + b"\0"):
        with pytest.raises(CodesError):
            files.read(io.BytesIO(other))


def signed(body: bytes) -> bytes:
    """A file whose checksum is right, whatever is inside."""
    return MAGIC + bytes([1]) + zlib.crc32(body).to_bytes(4, "little") + body


def test_two_thousand_mutations_are_refused_in_one_line_each():
    rng = random.Random(0)
    tracemalloc.start()
    for number in range(2000):
        data = bytearray(WHOLE[number % len(WHOLE)])
        for _ in range(rng.randint(1, 4)):
            kind, at = rng.randrange(3), rng.randrange(len(data))
            if kind == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                del data[at : at + rng.randint(1, 9)]
            else:
                data[at:at] = rng.randbytes(rng.randint(1, 9))
        if bytes(data) in WHOLE:
            continue
        with pytest.raises(CodesError) as caught:
            files.read(io.BytesIO(bytes(data)))
        assert "\n" not in str(caught.value)
        # With a checksum that fits, what is inside is refused or read, and never more than fits.
        try:
            codes, _ = files.read(io.BytesIO(signed(bytes(data[9:]))))
        except CodesError as error:
            assert "\n" not in str(error)
        else:
            codes.check()
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_header_that_promises_more_than_there_is_allocates_nothing():
    _, header = picture(np.zeros((4, 4), np.int64), 8192)
    huge = replace(header, extent=(1 << 20, 1 << 20))
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=vqz._KNOWN)
    text = squeezer.compress(headers.encode(huge).encode()) + squeezer.flush()
    body = b"\1" + (0).to_bytes(2, "little") + len(text).to_bytes(2, "little") + text + bytes(64)
    tracemalloc.start()
    with pytest.raises(CodesError, match="more codes than"):
        files.read(io.BytesIO(signed(body)))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_newer_format_says_so():
    data = bytearray(WHOLE[0])
    data[4] = 2
    with pytest.raises(CodesError, match="newer"):
        files.read(io.BytesIO(bytes(data)))


def test_a_packed_file_is_replaced_whole(tmp_path: Path):
    codes, header = some.image()
    path = tmp_path / "a.vqz"
    files.write(path, codes, header)
    assert files.is_codes(path)
    assert files.has_header(path)
    assert files.read_header(path) == header
    assert [each.name for each in tmp_path.iterdir()] == ["a.vqz"]


def test_counting_is_the_same_in_both_directions_for_any_block():
    plane = np.random.default_rng(0).integers(0, 700, (3, 1, 900))
    writer = rans.Writer()
    order0.code(writer, [plane.copy()], [1000], adaptive=True)
    out = np.zeros_like(plane)
    reader = rans.Reader(writer.finish(), order0.symbols([plane], [1000]))
    order0.code(reader, [out], [1000], adaptive=True)
    reader.finish()
    np.testing.assert_array_equal(out, plane)
