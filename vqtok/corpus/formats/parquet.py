"""Format "parquet": each shard a table, compressed with zstd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vqtok.corpus.table import Table
from vqtok.errors import CodesError

_LARGEST_GROUP = 1 << 30
"""Bytes of a row group that are read: a group is closed by the item that fills it."""


def _writer(sink: Any, schema: Any) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(sink, schema, compression="zstd")


def _reader(stream: Any, count: int) -> tuple[Any, Iterator[Any]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream, pre_buffer=False)

    def batches() -> Iterator[Any]:
        for index in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(index)
            if not 0 <= group.num_rows <= count or group.total_byte_size > _LARGEST_GROUP:
                raise CodesError("damaged: impossible row group")
            yield from file.read_row_group(index, use_threads=False).to_batches()

    return file.schema_arrow, batches()


FORMAT = Table("parquet", writer=_writer, reader=_reader)
