"""Format "arrow": each shard a table as Arrow's IPC file, which maps into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vqtok.corpus.table import Table
from vqtok.errors import CodesError


def _writer(sink: Any, schema: Any) -> Any:
    import pyarrow as pa

    return pa.ipc.new_file(sink, schema)


def _reader(stream: Any, count: int) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa

    file = pa.ipc.open_file(stream)

    def batches() -> Iterator[Any]:
        for index in range(file.num_record_batches):
            batch = file.get_batch(index)
            if not 0 <= batch.num_rows <= count:
                raise CodesError("damaged: impossible record batch")
            yield batch

    return file.schema, batches()


FORMAT = Table("arrow", writer=_writer, reader=_reader)
