"""Tables: a row for each item, through pyarrow (``vqtok[arrow]``).

Columns: ``number``, ``name``, ``extent``, ``channels``, ``codes`` (one flat list of small unsigned
integers: channel after channel, its levels coarse to fine, each in C order), ``shapes`` (of each
level, without channels) and ``header`` (JSON, with name and number); then what is carried, text or
missing: ``cls``, ``json``, ``label`` (the folder in the name), ``txt``. The schema's metadata
carries the spec under "vqtok". Rows are written in groups of a few megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.corpus import disk, items
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.format import Format, Staging
from vqtok.corpus.info import CorpusInfo, ShardInfo
from vqtok.corpus.items import KINDS, LABEL, Entry, label_of, text
from vqtok.corpus.runs import Run, channels_of, check_range, item_of
from vqtok.errors import CodesError, UsageError

GROUP_BYTES = 4 << 20
GROUP_ROWS = 1000

_COLUMNS = ("number", "name", "extent", "channels", "codes", "shapes", "header")


class Table(Format):
    """Writes each shard as a table.

    Args:
        name: Of the format.
        writer: Sink and schema → an object of pyarrow with ``write_batch``, a context manager.
        reader: Stream and number of items → the file's schema, and its batches unread.
    """

    def __init__(
        self,
        name: str,
        *,
        writer: Callable[[Any, Any], Any],
        reader: Callable[[Any, int], tuple[Any, Iterator[Any]]],
    ) -> None:
        self.name, self._writer, self._reader = name, writer, reader
        self.carries = (*KINDS, LABEL)

    def require(self) -> None:
        """Refuse to go on without pyarrow."""
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "parquet and arrow need pyarrow", hint="pip install 'vqtok[arrow]'"
            ) from error

    def check_carried(self, carried: Mapping[str, bytes]) -> None:
        """Refuse what is no text."""
        for kind, data in carried.items():
            text(kind, data)

    def write(self, staging: Staging, shard: int, entries: Iterable[Entry]) -> list[ByteRange]:
        """Write a shard, a group of rows at a time."""
        import pyarrow as pa

        (name,) = self.shard_files(shard)
        schema = _schema(staging.spec, staging.carry)
        with staging.fresh(name) as out:
            sink = pa.PythonFile(disk.Lasting(out), mode="w")
            with self._writer(sink, schema) as writer:
                for rows in _groups(entries):
                    writer.write_batch(_batch(rows, schema))
        return [out.written]

    def read(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Entry]:
        """Yield a shard's rows, a group in memory at a time."""
        carry = info.identity.carry
        with self._batches(folder, info, shard) as batches:
            for batch in batches:
                for row in range(batch.num_rows):
                    yield _entry(batch, row, info.spec, carry)

    def runs(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Run]:
        """Yield a shard's rows, those of one shape in a group together."""
        with self._batches(folder, info, shard) as batches:
            for batch in batches:
                yield from _runs(batch, info.spec, info.identity.carry)

    @contextmanager
    def _batches(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Iterator[Any]]:
        """Give the groups of a shard's rows, and name its file in whatever goes wrong."""
        import pyarrow

        (whole,) = shard.ranges
        path = folder / whole.path
        # pyarrow's errors are ValueErrors, OSErrors, MemoryErrors and some of its own.
        try:
            with disk.regular(path) as stream:
                schema, batches = self._reader(stream, shard.count)
                carry = info.identity.carry
                if not schema.equals(_schema(info.spec, carry), check_metadata=False):
                    raise CodesError("columns of another kind than a corpus has")
                yield (_checked(batch) for batch in batches)
        except CodesError as error:
            error.about(path)
            raise
        except (pyarrow.ArrowException, ValueError, OSError, MemoryError, OverflowError) as error:
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CodesError(path, f"damaged: {message}") from error


def _runs(batch: Any, spec: CodeSpec, carry: Sequence[str]) -> Iterator[Run]:
    """Yield the rows of a batch, those of one shape together."""
    labels = [items.load(each) for each in batch.column("header").to_pylist()]
    codes = batch.column("codes")
    flat = codes.flatten().to_numpy(zero_copy_only=False)
    lengths = np.diff(codes.offsets.to_numpy()).tolist()
    shapes = batch.column("shapes").to_pylist()
    columns = {kind: batch.column(kind).to_pylist() for kind in carry if kind != LABEL}
    start = 0
    kinds = ((shape, channels_of(label)) for shape, label in zip(shapes, labels, strict=True))
    rows = iter(range(batch.num_rows))
    for (shape, channels), group in groupby(kinds):
        sizes = tuple(items.shapes(shape, spec))
        tokens = items.tokens(sizes)
        found = []
        for row in islice(rows, sum(1 for _ in group)):
            if lengths[row] != channels * tokens:
                raise CodesError(f"{lengths[row]} codes found, {channels * tokens} expected")
            held = {kind: column[row] for kind, column in columns.items()}
            carried = {kind: text.encode() for kind, text in held.items() if text is not None}
            found.append(item_of(labels[row], spec, sizes, carried))
        stop = start + len(found) * channels * tokens
        own = check_range(flat[start:stop].reshape(-1, tokens), spec, sizes)
        yield Run(sizes, channels, own, tuple(found))
        start = stop


def _schema(spec: CodeSpec, carry: Sequence[str]) -> Any:
    import pyarrow as pa

    dtype = np.result_type(*(level.dtype for level in spec.levels))
    kinds = (
        pa.int64(),
        pa.string(),
        pa.list_(pa.int64()),
        pa.int32(),
        pa.list_(pa.from_numpy_dtype(dtype)),
        pa.list_(pa.list_(pa.int64())),
        pa.string(),
    )
    columns = zip(_COLUMNS, kinds, strict=True)
    fields = [pa.field(name, kind, nullable=False) for name, kind in columns]
    fields += [pa.field(name, pa.string()) for name in carry]
    return pa.schema(fields, metadata={"vqtok": items.dump({"format": 1, **spec.to_json()})})


def _groups(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    rows: list[Entry] = []
    size = 0
    for entry in entries:
        rows.append(entry)
        size += sum(array.nbytes for array in entry.codes.levels)
        size += sum(map(len, entry.carried.values()))
        if size >= GROUP_BYTES or len(rows) >= GROUP_ROWS:
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
        *([_text(entry, name) for entry in rows] for name in schema.names[len(_COLUMNS) :]),
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


def _text(entry: Entry, column: str) -> str | None:
    if column == LABEL:
        return _clean(label_of(entry.name)) or None
    data = entry.carried.get(column)
    return None if data is None else text(column, data)


def _checked(batch: Any) -> Any:
    # Offsets and texts come from a file: without this they could lead outside their buffers.
    batch.validate(full=True)
    for column in batch.columns[: len(_COLUMNS)]:
        nested = column
        while nested is not None:
            if nested.null_count:
                raise CodesError("damaged: a missing value")
            nested = nested.flatten() if hasattr(nested, "flatten") else None
    return batch


def _entry(batch: Any, row: int, spec: CodeSpec, carry: Sequence[str]) -> Entry:
    label = items.read_label(items.load(batch.column("header")[row].as_py()), spec)
    shapes = items.shapes(batch.column("shapes")[row].as_py(), label.header.spec)
    channels, tokens = label.header.channels, items.tokens(shapes)
    flat = batch.column("codes")[row].values
    if len(flat) != channels * tokens:
        raise CodesError(f"{len(flat)} codes found, {channels * tokens} expected")
    whole = flat.to_numpy(zero_copy_only=False).reshape(channels, tokens)
    levels, begin = [], 0
    for shape in shapes:
        stop = begin + int(np.prod(shape))
        levels.append(whole[:, begin:stop].reshape(channels, *shape))
        begin = stop
    codes = Codes(label.header.spec, tuple(levels), label.header.extent).check().numpy()
    found = {kind: batch.column(kind)[row].as_py() for kind in carry if kind != LABEL}
    carried = {kind: value.encode() for kind, value in found.items() if value is not None}
    return Entry(label.number, label.name, codes, label.header, carried)
