"""Damaged, foreign and hostile files: one CodesError each, whatever the bytes."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.codes import strategies as some
from tests.examples import examples
from vqtok.codes import files, header
from vqtok.codes.container import Codes
from vqtok.codes.files import Header
from vqtok.errors import CodesError

formats = pytest.mark.parametrize("format", ["npy", "safetensors"])


def as_bytes(item: tuple[Codes, Header], format: str) -> bytes:
    stream = io.BytesIO()
    files.write(stream, *item, format=format)
    return stream.getvalue()


WHOLE = [
    as_bytes(item, format)
    for item in (some.image(), some.audio(), some.hierarchy())
    for format in ("npy", "safetensors")
]


def npy(array: np.ndarray, text: str | None = None) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    if text is not None:
        np.save(stream, np.frombuffer(text.encode(), np.uint8))
    return stream.getvalue()


def edited(edit: Callable[[dict[str, Any]], object]) -> bytes:
    """A file whose header was changed behind the writer's back."""
    codes, head = some.image()
    data = head.to_json()
    edit(data)
    return npy(codes.levels[0][0].astype(np.uint16), json.dumps(data))


@pytest.mark.parametrize("data", WHOLE)
def test_a_file_cut_anywhere_is_refused(data: bytes):
    for end in range(len(data)):
        with pytest.raises(CodesError):
            files.read(io.BytesIO(data[:end]))


@pytest.mark.parametrize("data", WHOLE)
def test_bytes_after_the_end_are_refused(data: bytes):
    with pytest.raises(CodesError):
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


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes):
    for magic in (b"", b"\x93NUMPY\x01\x00", struct.pack("<Q", len(data)) + b"{"):
        with pytest.raises(CodesError):
            files.read(io.BytesIO(magic + data))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_a_header_or_a_codes_error(data: object):
    with pytest.raises(CodesError):
        header.decode(json.dumps(data))


@given(st.data())
def test_any_wrong_value_in_a_header_is_refused_or_harmless(data: st.DataObject):
    head = some.audio()[1].to_json()
    key = data.draw(st.sampled_from(sorted(head)))
    wrong = (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
    )
    head[key] = data.draw(wrong)
    try:
        Header.from_json(head)
    except CodesError as error:
        assert "\n" not in str(error)


def test_a_promise_of_a_gigantic_array_allocates_nothing():
    text = "{'descr': '<u2', 'fortran_order': False, 'shape': (1099511627776, 4096)}"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    table = {"codes": {"dtype": "U16", "shape": [1 << 40], "data_offsets": [0, 1 << 41]}}
    body = json.dumps(table).encode()
    tracemalloc.start()
    for data in (head, struct.pack("<Q", len(body)) + body, struct.pack("<Q", 1 << 60) + body):
        with pytest.raises(CodesError):
            files.read(io.BytesIO(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_objects_are_refused_and_nothing_is_unpickled(tmp_path: Path):
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    bomb = np.empty(1, dtype=object)
    bomb[0] = Bomb()
    path = tmp_path / "codes.npy"
    np.save(path, bomb, allow_pickle=True)
    with pytest.raises(CodesError, match="Python objects"):
        files.read(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CodesError, match="not a codes file"):
        files.read(path)
    assert not (tmp_path / "ran").exists()


MESSAGES = [
    (b"", "empty file"),
    (WHOLE[0][:5], "truncated"),
    (WHOLE[0][:140], "truncated: 140 bytes found, 158 expected"),
    (WHOLE[1][:-3], "truncated: "),
    (b"hello, world", "not a codes file"),
    (npy(np.zeros((5, 3), np.uint16)), "an array without a vqtok header"),
    (save({"codes": np.zeros((5, 3), np.uint16)}), "a safetensors file without a vqtok header"),
    (npy(np.zeros((5, 3), np.float32)), "floating-point values; codes are integers"),
    (npy(np.zeros((5, 3), bool)), "boolean values; codes are integers"),
    (edited(lambda head: head.update(format=2)), "format 2 of a newer vqtok"),
    (edited(lambda head: head.update(extent=[99, 20])), r"shape \(1, 5, 3\) found, \(1, 13, 3\)"),
    (edited(lambda head: head.update(extent=[33])), "extent"),
    (edited(lambda head: head.update(extent=[33, 10**400])), "extent is out of range"),
    (edited(lambda head: head.pop("levels")), "damaged header: 'levels' is missing"),
    (edited(lambda head: head["levels"][0].update(codebook_size=100)), "at or above codebook size"),
    (edited(lambda head: head["levels"][0].update(axes=["q", "h", "w"], depth=2)), "rank 2 found"),
    (edited(lambda head: head.update(model="../evil")), "model is not a plain name"),
    (edited(lambda head: head.update(source={"name": "a/b"})), "source.name is not a plain name"),
    (edited(lambda head: head.update(model="x" * 256)), "model is not text"),
    (edited(lambda head: head["levels"][0].update(name="x" * 256)), "level name is not text"),
    (edited(lambda head: head.update(channels=True)), "channels is not an integer"),
    (edited(lambda head: head.update(channels=2)), "rank 2 found, \\(c, h, w\\) expected"),
    (npy(np.zeros((5, 3), np.uint16), "[" * 10**5), "damaged header: not JSON"),
    (npy(np.zeros((5, 3), np.uint16), "{}"), "damaged header: 'format' is missing"),
]


@pytest.mark.parametrize(("data", "message"), MESSAGES)
def test_each_fault_has_its_own_message(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "codes.npy"
    path.write_bytes(data)
    with pytest.raises(CodesError, match=message) as told:
        files.read(path)
    assert str(told.value).startswith(f"{path}: ")
    with pytest.raises(CodesError, match="stdin: "):
        files.read(io.BytesIO(data))


def test_unknown_keys_of_a_header_are_left_alone():
    data = edited(lambda head: head.update(colour="blue", source={"name": "a", "iso": 100}))
    assert files.read(io.BytesIO(data))[1].source.name == "a"


def test_missing_and_unreadable_files_are_one_line(tmp_path: Path):
    for path in (tmp_path / "missing.npy", tmp_path):
        for function in (files.read, files.read_header):
            with pytest.raises(CodesError, match="cannot read: "):
                function(path)


@formats
def test_levels_that_are_not_those_of_the_header_are_refused(format: str):
    head = header.encode(some.hierarchy()[1])
    if format == "npy":
        data = npy(np.zeros(59, np.uint16), head)
        message = "59 codes found, 60 expected"
    else:
        data = save({"top": np.zeros((5, 3), np.uint16)}, metadata={"vqtok": head})
        message = "levels top found, bottom, top expected"
    with pytest.raises(CodesError, match=message):
        files.read(io.BytesIO(data))
