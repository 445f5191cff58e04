"""What lies beside an item goes along with its codes, byte for byte, however often killed."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.samples import carrying, contents, item, small
from tests.corpus.test_interruption import attempt
from vqtok.corpus.formats import FORMATS
from vqtok.errors import CodesError, UsageError

HOLDERS = [each for each in FORMATS if each != "bin"]
holders = pytest.mark.parametrize("format", HOLDERS)


@holders
def test_what_is_carried_comes_back_and_is_counted(tmp_path: Path, format: str):
    corpus = carrying(format)
    info = corpus.write(tmp_path, format)
    corpus.assert_read_back(tmp_path)
    # Items 3 and 7 failed: nothing of theirs is carried.
    counts = {"cls": 4, "json": 2, "txt": 0}
    assert {kind: info.carried[kind] for kind in counts} == counts
    assert json.loads((tmp_path / "index.json").read_text())["carried"] == info.carried


def test_a_tar_holds_members_of_the_same_key(tmp_path: Path):
    corpus = carrying("tar")
    corpus.write(tmp_path, "tar")
    with tarfile.open(tmp_path / "shard-00000.tar") as archive:
        names = archive.getnames()
        assert names[-4:] == [f"dogs/old/2{s}" for s in (".npy", ".json", ".cls", ".meta.json")]
        content = archive.extractfile("dogs/old/2.meta.json")
        assert content is not None and content.read() == corpus.carried[2]["json"]


def test_a_tree_holds_files_beside_the_codes(tmp_path: Path):
    corpus = carrying("files")
    corpus.write(tmp_path, "files")
    assert (tmp_path / "dogs/old/2.cls").read_bytes() == corpus.carried[2]["cls"]
    assert (tmp_path / "dogs/old/2.json").read_bytes() == corpus.carried[2]["json"]


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_table_has_columns_and_one_of_labels(tmp_path: Path, format: str):
    pa = pytest.importorskip("pyarrow")
    corpus = carrying(format)
    info = corpus.write(tmp_path, format)
    path = tmp_path / f"shard-00000.{format}"
    if format == "parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
    else:
        table = pa.ipc.open_file(path).read_all()
    assert table["label"].to_pylist() == ["dogs/old", "cats", "dogs/old"]
    assert table["json"].to_pylist() == [None, None, corpus.carried[2]["json"].decode()]
    assert info.carried["label"] == 6


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_column_of_text_refuses_other_bytes_and_nothing_is_recorded(tmp_path: Path, format: str):
    corpus = carrying(format)
    with corpus.open(tmp_path, format) as writer:
        with pytest.raises(CodesError, match="its txt is not UTF-8"):
            writer.add(0, *item(corpus.spec, 0), {"txt": b"\xff"})
        assert 0 in list(writer.pending())


def test_tokens_alone_hold_nothing_beside_them(tmp_path: Path):
    with pytest.raises(UsageError, match="format bin cannot hold txt"):
        replace(small(), carry=("txt",)).open(tmp_path / "c", "bin")


def test_a_file_of_an_item_is_not_taken_for_one_of_the_corpus(tmp_path: Path):
    corpus = replace(
        small(count=1), names=["index.png"], carried=[{"json": b"mine"}], carry=("json",)
    )
    corpus.write(tmp_path, "files")
    corpus.assert_read_back(tmp_path)
    assert (tmp_path / "index.png.json").read_bytes() == b"mine"


@holders
def test_starting_over_leaves_nothing_that_was_carried(tmp_path: Path, format: str):
    old, new = carrying(format, job="old"), small("audio", job="new", count=3)
    new.write(tmp_path / "expected", "tar")
    for name, step in (("whole", 10**9), ("half", 60)):
        attempt(old, tmp_path / name, format, step)
        new.write(tmp_path / name, "tar", restart=True)
        left = {k: v for k, v in contents(tmp_path / name).items() if v is not None}
        assert left == contents(tmp_path / "expected")


@holders
@settings(max_examples=10)
@given(steps=st.lists(st.integers(0, 80), max_size=6))
def test_killed_again_and_again_it_resumes_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, format: str, steps: list[int]
):
    folder = tmp_path_factory.mktemp("carried")
    corpus = carrying(format)
    corpus.write(folder / "once", format)
    for step in steps:
        attempt(corpus, folder / "often", format, step)
    corpus.write(folder / "often", format)
    assert contents(folder / "once") == contents(folder / "often")


@holders
def test_what_was_changed_after_writing_is_noticed(tmp_path: Path, format: str):
    corpus = carrying(format)
    corpus.write(tmp_path, format)
    name = "dogs/old/2.json" if format == "files" else f"shard-00000.{format}"
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CodesError, match="damaged"):
        corpus.assert_read_back(tmp_path)
