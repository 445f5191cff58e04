"""Damaged corpora: always one line that names the file, whatever was flipped, cut or forged."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.corpus.samples import contents, small
from tests.examples import examples
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.index import is_corpus
from vqtok.corpus.reader import CorpusReader
from vqtok.errors import CodesError

formats = pytest.mark.parametrize("format", FORMATS)


def content_files(folder: Path) -> list[Path]:
    """Those that hold items."""
    no = {"index.json", "failed.jsonl", "histogram.npy", "tokens.idx"}
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in no]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    for format in FORMATS:
        small("audio").write(folder / format, format)
    return folder


@formats
@examples(15, many=60)
@given(data=st.data())
def test_a_flipped_bit_or_a_cut_is_told_with_the_files_name(
    place: Path, format: str, data: st.DataObject
):
    folder = place / format
    path = data.draw(st.sampled_from(content_files(folder)))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    if data.draw(st.booleans()):
        damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del damaged[at:]
    try:
        path.write_bytes(damaged)
        with pytest.raises(CodesError, match=path.name):
            list(CorpusReader(folder))
    finally:
        path.write_bytes(whole)


@formats
def test_nothing_of_a_damaged_shard_is_handed_out(place: Path, format: str):
    folder = place / format
    path = content_files(folder)[-1]
    if format != "files":
        path = folder / ("tokens.bin" if format == "bin" else f"shard-00001.{format}")
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        found = []
        with pytest.raises(CodesError):
            for entry in CorpusReader(folder):
                found.append(entry.number)
        assert found == ([0, 1, 2, 4, 5] if format in ("bin", "files") else [0, 1, 2])
    finally:
        path.write_bytes(whole)


@formats
def test_a_missing_file_or_something_else_in_its_place_is_told(place: Path, format: str):
    folder = place / format
    for path in content_files(folder):
        aside = path.with_name("aside")
        path.rename(aside)
        try:
            with pytest.raises(CodesError, match=path.name):
                list(CorpusReader(folder))
            path.symlink_to(aside)
            with pytest.raises(CodesError, match=path.name):
                list(CorpusReader(folder))
            path.unlink()
            os.mkfifo(path)
            with pytest.raises(CodesError, match=path.name):
                list(CorpusReader(folder))
            path.unlink()
            path.mkdir()
            with pytest.raises(CodesError, match=path.name):
                list(CorpusReader(folder))
            path.rmdir()
        finally:
            aside.rename(path)


@formats
@pytest.mark.parametrize("name", ["failed.jsonl", "histogram.npy"])
def test_damaged_side_files_are_told(place: Path, format: str, name: str):
    path = place / format / name
    whole = path.read_bytes()
    try:
        for damaged in (whole[:-1], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
            path.write_bytes(damaged)
            with pytest.raises(CodesError, match=name):
                CorpusReader(place / format).histogram()
                list(CorpusReader(place / format).failures())
    finally:
        path.write_bytes(whole)


junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(),
        st.sampled_from(["", "files", "../x", "a\0"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)),
    max_leaves=4,
)


def holders(data: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside JSON."""
    found: list[tuple[Any, Any]] = []
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in list(pairs):
        found.append((data, key))
        if isinstance(value, dict | list):
            found += holders(value)
    return found


@formats
@examples(20, many=150)
@given(data=st.data())
def test_an_index_of_any_content_is_read_or_refused(place: Path, format: str, data: st.DataObject):
    folder = place / format
    path = folder / "index.json"
    whole = path.read_text()
    index = json.loads(whole)
    container, key = data.draw(st.sampled_from(holders(index)))
    if data.draw(st.booleans()):
        container[key] = data.draw(junk)
    else:
        del container[key]
    try:
        path.write_text(json.dumps(index))
        before = set(contents(folder))
        try:
            reader = CorpusReader(folder)
            list(reader)
            list(reader.failures())
            reader.histogram()
        except CodesError:
            pass
        is_corpus(folder)
        assert set(contents(folder)) == before
    finally:
        path.write_text(whole)


@formats
@pytest.mark.parametrize("layout", [{}, [], 7, "x", {"bos": 1, "dtype": "O", "vocabulary": 2}])
def test_a_layout_that_is_not_the_specs_is_refused(tmp_path: Path, format: str, layout: object):
    small().write(tmp_path, format)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**index, "layout": layout}))
    with pytest.raises(CodesError, match="layout"):
        CorpusReader(tmp_path)


@pytest.mark.parametrize(
    "change", [{"offset": 10**400}, {"size": 9}, {"stage": 5}, {"level": "x\x1b[2J"}, None]
)
def test_codebooks_that_are_not_the_specs_are_refused(tmp_path: Path, change: Any):
    small().write(tmp_path, "tar")
    index = json.loads((tmp_path / "index.json").read_text())
    first, *rest = index["codebooks"]
    changed = rest if change is None else [{**first, **change}, *rest]
    (tmp_path / "index.json").write_text(json.dumps({**index, "codebooks": changed}))
    with pytest.raises(CodesError, match="codebooks"):
        CorpusReader(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "[" * 100_000, '{"corpus": 1}', '{"corpus": "x"}', "\xff", "NaN"]
)
def test_an_index_that_is_none_is_one_line(tmp_path: Path, text: str):
    (tmp_path / "index.json").write_text(text, encoding="latin-1")
    with pytest.raises(CodesError):
        CorpusReader(tmp_path)


def test_a_corpus_of_a_newer_vqtok_says_so(tmp_path: Path):
    small().write(tmp_path, "tar")
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**index, "corpus": 3}))
    with pytest.raises(CodesError, match="newer vqtok") as told:
        CorpusReader(tmp_path)
    assert told.value.hint == "pip install --upgrade vqtok"


def forge(folder: Path, name: str, change: Any) -> None:
    """Change one line of items.jsonl, with an index that vouches for it."""
    lines = (folder / "items.jsonl").read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), name: change})
    data = ("\n".join(lines) + "\n").encode()
    (folder / "items.jsonl").write_bytes(data)
    index = json.loads((folder / "index.json").read_text())
    (shard,) = index["shards"]
    for extent in shard["extents"]:
        if extent["path"] == "items.jsonl":
            extent.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("format", ["files", "bin"])
@examples(20, many=100)
@given(name=st.sampled_from(["name", "number", "path", "bytes", "shapes", "extent"]), change=junk)
@example(name="path", change="../../etc/passwd")
@example(name="name", change="/etc/passwd")
@example(name="bytes", change=1 << 52)
@example(name="shapes", change=[[1 << 52, 1 << 52]])
@example(name="extent", change=[1 << 52])
@example(name="channels", change=1 << 52)
def test_listings_of_any_content_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, format: str, name: str, change: Any
):
    folder = tmp_path_factory.mktemp("forged")
    small("audio", count=3).write(folder, format)
    forge(folder, name, change)
    try:
        for entry in CorpusReader(folder):
            assert not entry.name.startswith("/")
            assert ".." not in entry.name.split("/")
    except CodesError:
        pass
