"""Formats "parquet" and "arrow" as pyarrow sees them, and what a crafted table can do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.codes import strategies as some
from tests.corpus.samples import Corpus, item, small
from vqtok.corpus import table
from vqtok.corpus.reader import CorpusReader
from vqtok.errors import CodesError

formats = pytest.mark.parametrize("format", ["parquet", "arrow"])


def load(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    return pa.ipc.open_file(path).read_all()


def store(path: Path, rows: pa.Table) -> None:
    """Put this table in place of a shard."""
    if path.suffix == ".parquet":
        pq.write_table(rows, path)
    else:
        with pa.ipc.new_file(path, rows.schema) as writer:
            writer.write_table(rows)
    vouch(path, path.read_bytes())


def vouch(path: Path, data: bytes) -> None:
    """Put these bytes in place of a shard, with an index that vouches for them."""
    path.write_bytes(data)
    index = json.loads((path.parent / "index.json").read_text())
    digest = hashlib.sha256(data).hexdigest()
    index["shards"][0]["extents"][0].update(bytes=len(data), sha256=digest)
    (path.parent / "index.json").write_text(json.dumps(index))


@formats
def test_a_row_is_an_item(tmp_path: Path, format: str):
    codes, header = some.audio()
    Corpus(codes.spec, ["x/a.wav"], [(codes, header)]).write(tmp_path, format)
    rows = load(tmp_path / f"shard-00000.{format}")
    (row,) = rows.to_pylist()
    assert row["name"] == "x/a.wav"
    assert row["number"] == 0
    assert row["extent"] == [1000]
    assert row["channels"] == 2
    assert row["shapes"] == [[4, 4]]
    assert row["codes"] == codes.levels[0].reshape(-1).tolist()
    assert rows.schema.field("codes").type.value_type == pa.uint16()
    assert json.loads(row["header"])["model"] == "audio-24k"
    spec = json.loads(rows.schema.metadata[b"vqtok"])
    assert spec["fingerprint"] == codes.spec.fingerprint
    assert spec["levels"][0]["codebook_size"] == 1024


@formats
def test_rows_lie_in_groups(tmp_path: Path, format: str, monkeypatch):
    monkeypatch.setattr(table, "GROUP_ROWS", 2)
    corpus = small(count=8)
    corpus = Corpus(corpus.spec, corpus.names, [item(corpus.spec, n) for n in range(8)], 5)
    corpus.write(tmp_path / "rows", format)
    monkeypatch.setattr(table, "GROUP_BYTES", 1)
    corpus.write(tmp_path / "bytes", format)
    for name, groups in (("rows", 3), ("bytes", 5)):
        path = tmp_path / name / f"shard-00000.{format}"
        found = (
            pq.ParquetFile(path).num_row_groups
            if format == "parquet"
            else pa.ipc.open_file(path).num_record_batches
        )
        assert found == groups
        corpus.assert_read_back(tmp_path / name)


def replaced(rows: pa.Table, name: str, values: Any) -> pa.Table:
    index = rows.schema.get_field_index(name)
    field = rows.schema.field(name)
    return rows.set_column(index, field, pa.array(values, field.type))


def changed(header: str, **changes: Any) -> str:
    return json.dumps({**json.loads(header), **changes})


@formats
@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("codes", lambda row: [row["codes"][:-1]], "codes found"),
        ("codes", lambda row: [[65535 % 256] * len(row["codes"])], "at or above codebook size"),
        ("shapes", lambda row: [[[1 << 40, 1], [1, 1, 1]]], "codes found"),
        ("shapes", lambda row: [[]], "not one shape for each level"),
        ("shapes", lambda row: [[[-1, -1], [1, 1, 1]]], "out of range"),
        ("header", lambda row: ["{"], "not JSON"),
        ("header", lambda row: [changed(row["header"], name="../x")], "unsafe name"),
        ("header", lambda row: [changed(row["header"], number=5)], "out of order"),
        ("header", lambda row: [changed(row["header"], fingerprint="f0")], "another model"),
        ("header", lambda row: [changed(row["header"], extent=[1])], "does not fit"),
    ],
)
def test_a_crafted_row_is_one_line(
    tmp_path: Path, format: str, column: str, values: Any, message: str
):
    spec = small().spec
    Corpus(spec, ["a.png"], [item(spec, 1)]).write(tmp_path, format)
    path = tmp_path / f"shard-00000.{format}"
    rows = load(path)
    store(path, replaced(rows, column, values(rows.to_pylist()[0])))
    with pytest.raises(CodesError, match=rf"shard-00000\.{format}: .*{message}"):
        list(CorpusReader(tmp_path))
    with pytest.raises(CodesError, match=rf"shard-00000\.{format}: "):
        list(CorpusReader(tmp_path).runs(0))


@formats
def test_columns_of_another_kind_are_refused(tmp_path: Path, format: str):
    spec = small().spec
    Corpus(spec, ["a.png"], [item(spec, 1)]).write(tmp_path, format)
    path = tmp_path / f"shard-00000.{format}"
    rows = load(path)
    for other in (
        rows.drop_columns(["header"]),
        rows.rename_columns(["n", *rows.column_names[1:]]),
        rows.set_column(0, "number", pa.array(["0"])),
    ):
        store(path, other)
        with pytest.raises(CodesError, match="columns of another kind"):
            list(CorpusReader(tmp_path))


@formats
def test_missing_values_are_refused(tmp_path: Path, format: str):
    spec = small().spec
    Corpus(spec, ["a.png"], [item(spec, 1)]).write(tmp_path, format)
    path = tmp_path / f"shard-00000.{format}"
    rows = load(path)
    for name, value in (("header", None), ("codes", None), ("codes", [None, 1])):
        index = rows.schema.get_field_index(name)
        kind = rows.schema.field(name).type
        loose = rows.set_column(index, pa.field(name, kind), pa.array([value], kind))
        store(path, loose)
        with pytest.raises(CodesError, match=r"missing value|another kind"):
            list(CorpusReader(tmp_path))


def test_arrow_offsets_outside_the_values_are_refused(tmp_path: Path):
    spec = small().spec
    Corpus(spec, ["a.png"], [item(spec, 1)]).write(tmp_path, "arrow")
    path = tmp_path / "shard-00000.arrow"
    whole = path.read_bytes()
    (row,) = load(path).to_pylist()
    offsets = np.array([0, len(row["codes"])], "<i4").tobytes()
    refused, at = 0, whole.find(offsets)
    while at >= 0:
        outside = np.array([0, 1 << 30], "<i4").tobytes()
        vouch(path, whole[:at] + outside + whole[at + 8 :])
        try:
            list(CorpusReader(tmp_path))
        except CodesError as error:
            assert "shard-00000.arrow: " in str(error)
            refused += 1
        at = whole.find(offsets, at + 1)
    assert refused
