"""Formats "parquet" and "arrow": a row for each item, through pyarrow (``vqtok[arrow]``).

Columns: ``number``, ``name``, ``extent``, ``channels``, ``codes`` (one flat list of small unsigned
integers: channel after channel, its levels coarse to fine, each in C order), ``shapes`` (of each
level, without channels) and ``header`` (JSON, with name and number). The schema's metadata carries
the spec under "vqtok". Rows are written in groups of a few megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.corpus import disk, items, place
from vqtok.corpus.info import CorpusInfo, Extent, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.kinds import shard_name
from vqtok.corpus.place import Place
from vqtok.errors import CodesError, UsageError

_GROUP_BYTES = 4 << 20
_GROUP_ROWS = 1000
_LARGEST_GROUP = 1 << 30
"""Bytes of a row group that are read: a group is closed by the item that fills it."""


def need() -> None:
    """Refuse to go on without pyarrow.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "parquet and arrow need pyarrow", hint="pip install 'vqtok[arrow]'"
        ) from error


def compose(where: Place, shard: int, entries: Iterable[Entry]) -> list[Extent]:
    """Write a shard of ``where.format``."""
    name = shard_name(where.format, shard)
    schema = _schema(where.spec)
    with where.fresh(name) as out, _writer(where.format, out, schema) as writer:
        for rows in _groups(entries):
            writer.write_batch(_batch(rows, schema))
    return [place.extent(name, out)]


def read(folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Entry]:
    """Read a shard's rows, a group at a time."""
    import pyarrow

    need()
    (whole,) = shard.extents
    path = folder / whole.path
    # pyarrow's errors are ValueErrors, OSErrors, MemoryErrors and some of its own.
    try:
        with disk.regular(path) as stream:
            batches = _parquet if info.format == "parquet" else _arrow
            for batch in batches(stream, _schema(info.spec), shard.count):
                for row in range(batch.num_rows):
                    yield _entry(batch, row, info.spec)
    except CodesError as error:
        raise CodesError(f"{path}: {error}", hint=error.hint) from error
    except (pyarrow.ArrowException, ValueError, OSError, MemoryError, OverflowError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CodesError(f"{path}: damaged: {message}") from error


def _schema(spec: CodeSpec) -> Any:
    import pyarrow as pa

    dtype = np.result_type(*(level.dtype for level in spec.levels))
    columns = [
        ("number", pa.int64()),
        ("name", pa.string()),
        ("extent", pa.list_(pa.int64())),
        ("channels", pa.int32()),
        ("codes", pa.list_(pa.from_numpy_dtype(dtype))),
        ("shapes", pa.list_(pa.list_(pa.int64()))),
        ("header", pa.string()),
    ]
    fields = [pa.field(name, kind, nullable=False) for name, kind in columns]
    return pa.schema(fields, metadata={"vqtok": items.dump({"format": 1, **spec.to_json()})})


def _writer(format: str, out: disk.Output, schema: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.PythonFile(_Lasting(out), mode="w")
    if format == "arrow":
        return pa.ipc.new_file(sink, schema)
    return pq.ParquetWriter(sink, schema, compression="zstd")


class _Lasting:
    """An output that outlives the writer that would close it."""

    closed = False

    def __init__(self, out: disk.Output) -> None:
        self._out = out

    def write(self, data: Any) -> int:
        return self._out.write(data)

    def tell(self) -> int:
        return self._out.tell()

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        pass


def _groups(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    rows: list[Entry] = []
    size = 0
    for entry in entries:
        rows.append(entry)
        size += sum(array.nbytes for array in entry.codes.levels)
        if size >= _GROUP_BYTES or len(rows) >= _GROUP_ROWS:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _batch(rows: list[Entry], schema: Any) -> Any:
    import pyarrow as pa

    kind = schema.field("codes").type.value_type
    flat = [_flat(entry.codes) for entry in rows]
    offsets = np.cumsum([0, *(len(each) for each in flat)], dtype=np.int64)
    if offsets[-1] > np.iinfo(np.int32).max:
        raise CodesError("too many codes for a row group")
    columns = [
        [entry.number for entry in rows],
        [_clean(entry.name) for entry in rows],
        [list(entry.header.extent) for entry in rows],
        [entry.header.channels for entry in rows],
        pa.ListArray.from_arrays(
            pa.array(offsets.astype(np.int32)),
            pa.array(np.concatenate(flat).astype(kind.to_pandas_dtype(), copy=False)),
        ),
        [[list(array.shape[1:]) for array in entry.codes.levels] for entry in rows],
        [items.dump(items.label(entry)) for entry in rows],
    ]
    arrays = [
        column.cast(each.type) if isinstance(column, pa.Array) else pa.array(column, each.type)
        for column, each in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _flat(codes: Codes) -> np.ndarray:
    parts = [array.reshape(len(codes), -1) for array in codes.levels]
    return np.concatenate(parts, axis=1).reshape(-1)


def _clean(name: str) -> str:
    # Names that are no Unicode would not fit into the column; the header has them as they are.
    return name.encode("utf-8", "replace").decode()


def _parquet(stream: Any, schema: Any, count: int) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(stream, pre_buffer=False) as file:
        _check_schema(file.schema_arrow, schema)
        for index in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(index)
            if not 0 <= group.num_rows <= count or group.total_byte_size > _LARGEST_GROUP:
                raise CodesError("damaged: impossible row group")
            for batch in file.read_row_group(index, use_threads=False).to_batches():
                yield _checked(batch)


def _arrow(stream: Any, schema: Any, count: int) -> Iterator[Any]:
    import pyarrow as pa

    with pa.ipc.open_file(stream) as file:
        _check_schema(file.schema, schema)
        for index in range(file.num_record_batches):
            batch = file.get_batch(index)
            if not 0 <= batch.num_rows <= count:
                raise CodesError("damaged: impossible record batch")
            yield _checked(batch)


def _check_schema(found: Any, expected: Any) -> None:
    if not found.equals(expected, check_metadata=False):
        raise CodesError("columns of another kind than a corpus has")


def _checked(batch: Any) -> Any:
    # Offsets and texts come from a file: without this they could lead outside their buffers.
    batch.validate(full=True)
    for column in batch.columns:
        nested = column
        while nested is not None:
            if nested.null_count:
                raise CodesError("damaged: a missing value")
            nested = nested.flatten() if hasattr(nested, "flatten") else None
    return batch


def _entry(batch: Any, row: int, spec: CodeSpec) -> Entry:
    told = items.read_label(items.load(batch.column("header")[row].as_py()), spec)
    shapes = items.shapes(batch.column("shapes")[row].as_py(), told.header.spec)
    channels, tokens = told.header.channels, items.tokens(shapes)
    flat = batch.column("codes")[row].values
    if len(flat) != channels * tokens:
        raise CodesError(f"{len(flat)} codes found, {channels * tokens} expected")
    whole = flat.to_numpy(zero_copy_only=False).reshape(channels, tokens)
    levels, begin = [], 0
    for shape in shapes:
        stop = begin + int(np.prod(shape))
        levels.append(whole[:, begin:stop].reshape(channels, *shape))
        begin = stop
    codes = Codes(told.header.spec, tuple(levels), told.header.extent).check().numpy()
    return Entry(told.number, told.name, codes, told.header)
