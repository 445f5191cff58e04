"""Outputs of streams: each is written from sequences, and gives its documents back.

"bin" is one file of tokens with Megatron's index; "parquet", "arrow" and "tar" (WebDataset) have
shards.
What each document consists of goes along in all of them.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np

from vqtok.compose.document import Document, Listed
from vqtok.compose.state import State
from vqtok.compose.view import Sequence, Starting
from vqtok.corpus import disk, items
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.megatron import write_index
from vqtok.errors import CodesError, UsageError

SHARD = 10_000
"""Sequences in a shard."""

GROUP = 1000
"""Rows of a group of a table."""


class Output(Protocol):
    """Lays out sequences on disk, and reads them back."""

    def require(self) -> None:
        """Refuse to go on without a package that is needed.

        Raises:
            UsageError: it is not installed.
        """
        ...

    def write(
        self, state: State, prefix: str, sequences: Iterable[Sequence], dtype: str, *, packed: bool
    ) -> Iterator[ByteRange]:
        """Write the files of a split, each of which appears whole.

        Args:
            state: Of the folder.
            prefix: Of their names: "tokens", "train" or "validation".
            sequences: In order.
            dtype: Of the ids.
            packed: Documents may begin and end within a sequence.
        """
        ...

    def read(self, folder: Path, prefix: str, dtype: str) -> Iterator[Sequence]:
        """Yield the sequences of a split.

        Raises:
            CodesError: a file that is missing or damaged.
        """
        ...


class Bin:
    """Writes ``PREFIX.bin``, ``.idx``, ``.jsonl``; packed also where documents begin."""

    def require(self) -> None:
        """Need nothing."""

    def write(
        self, state: State, prefix: str, sequences: Iterable[Sequence], dtype: str, *, packed: bool
    ) -> Iterator[ByteRange]:
        """Write the files of a split."""
        lengths, starts, position = array("i"), array("q"), 0
        with state.fresh(f"{prefix}.bin") as tokens, state.fresh(f"{prefix}.jsonl") as listing:
            for ids, documents in sequences:
                tokens.write(ids.tobytes())
                lengths.append(len(ids))
                for start, line in documents:
                    listing.write(line)
                    starts.append(position + start)
                position += len(ids)
        yield tokens.written
        yield listing.written
        yield from self.index(state, prefix, np.asarray(lengths, np.int64), dtype)
        if packed:
            with state.fresh(f"{prefix}.boundaries.npy") as out:
                found = np.asarray(starts, "<i8")
                np.lib.format.write_array(cast(Any, out), found, version=(1, 0), allow_pickle=False)
            yield out.written

    def index(
        self, state: State, prefix: str, lengths: np.ndarray, dtype: str
    ) -> Iterator[ByteRange]:
        """Write Megatron's index: each sequence is a document."""
        with state.fresh(f"{prefix}.idx") as out:
            write_index(out, dtype, lengths, np.ones(len(lengths), np.int64))
        yield out.written

    def read(self, folder: Path, prefix: str, dtype: str) -> Iterator[Sequence]:
        """Yield documents, one after the other, whatever the sequences were."""
        path, listing = folder / f"{prefix}.bin", folder / f"{prefix}.jsonl"
        kind = np.dtype(dtype).newbyteorder("<")
        with disk.regular(path) as stream, disk.regular(listing) as lines:
            for line in lines:
                count = Listed.read(items.load(line)).tokens
                data = stream.read(count * kind.itemsize)
                if len(data) != count * kind.itemsize:
                    raise CodesError(path, "fewer tokens than its documents promise")
                yield Sequence(np.frombuffer(data, kind), [Starting(0, line)])
            if stream.read(1):
                raise CodesError(path, "more tokens than its documents have")


class Table:
    """Writes ``PREFIX-00000.parquet`` or ``.arrow``: a row for each sequence.

    ``load_dataset("parquet")`` or ``("arrow")`` of Hugging Face's ``datasets`` reads them; Arrow is
    the streaming format, as it saves and maps into memory itself.

    Columns: ``input_ids``; ``modality``: runs of one kind; ``sources``: of which file and item of
    which corpus a stretch is; ``documents``: where each begins; ``listing``: their lines.

    Args:
        suffix: "parquet" or "arrow".
    """

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix

    def require(self) -> None:
        """Refuse to go on without pyarrow."""
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            hint = "pip install 'vqtok[arrow]'"
            raise UsageError(f"{self._suffix} needs pyarrow", hint=hint) from error

    def write(
        self, state: State, prefix: str, sequences: Iterable[Sequence], dtype: str, *, packed: bool
    ) -> Iterator[ByteRange]:
        """Write the shards of a split."""
        import pyarrow as pa

        schema = self._schema(dtype)
        lasting: list[tuple[int, Listed]] = []  # documents that go on in the next sequence
        for name, shard in _shards(state, prefix, self._suffix, sequences):
            with state.fresh(name) as out:
                sink = pa.PythonFile(disk.Lasting(out), mode="w")
                with self._writer(sink, schema) as writer:
                    while rows := list(islice(shard, GROUP)):
                        columns: dict[str, list[Any]] = {each: [] for each in schema.names}
                        for ids, documents in rows:
                            for start, line in documents:
                                lasting.append((start, Listed.read(items.load(line))))
                            runs = list(_runs(lasting, len(ids)))
                            columns["input_ids"].append(ids)
                            columns["modality"].append([run for run, _ in runs])
                            columns["sources"].append([own for _, own in runs if own is not None])
                            columns["documents"].append([start for start, _ in documents])
                            columns["listing"].append([line.decode() for _, line in documents])
                            lasting = [
                                (start - len(ids), each)
                                for start, each in lasting
                                if start + each.tokens > len(ids)
                            ]
                        writer.write_table(pa.table(columns, schema=schema))
            yield out.written

    def read(self, folder: Path, prefix: str, dtype: str) -> Iterator[Sequence]:
        """Yield the rows."""
        import pyarrow as pa

        kind = np.dtype(dtype)
        columns = ["input_ids", "documents", "listing"]
        for path in _files(folder, prefix, self._suffix):
            try:
                with disk.regular(path) as stream:
                    for batch in self._batches(stream, columns):
                        batch.validate(full=True)
                        for row in range(batch.num_rows):
                            ids = batch.column("input_ids")[row].values.to_numpy(
                                zero_copy_only=False
                            )
                            starts, lines = (batch.column(n)[row].as_py() for n in columns[1:])
                            pairs = zip(starts, lines, strict=True)
                            found = [Starting(start, line.encode()) for start, line in pairs]
                            yield Sequence(ids.astype(kind), found)
            except (pa.ArrowException, OSError, ValueError, AttributeError, KeyError) as error:
                raise CodesError(path, f"damaged: {error}") from error

    def _writer(self, sink: Any, schema: Any) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._suffix == "arrow":
            return pa.ipc.new_stream(sink, schema)
        return pq.ParquetWriter(sink, schema, compression="zstd")

    def _batches(self, stream: BinaryIO, columns: list[str]) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._suffix == "arrow":
            with pa.ipc.open_stream(stream) as reader:
                yield from reader
            return
        file = pq.ParquetFile(stream, pre_buffer=False)
        yield from file.iter_batches(batch_size=GROUP, columns=columns)

    def _schema(self, dtype: str) -> Any:
        import pyarrow as pa

        run = [("kind", pa.string()), ("start", pa.int32()), ("length", pa.int32())]
        source = [("file", pa.string()), ("corpus", pa.int32()), ("item", pa.int64())]
        source += [("start", pa.int32()), ("length", pa.int32())]
        return pa.schema(
            [
                ("input_ids", pa.list_(pa.from_numpy_dtype(np.dtype(dtype)))),
                ("modality", pa.list_(pa.struct(run))),
                ("sources", pa.list_(pa.struct(source))),
                ("documents", pa.list_(pa.int32())),
                ("listing", pa.list_(pa.string())),
            ]
        )


class Tar:
    """Writes WebDataset shards ``PREFIX-00000.tar``: ``KEY.npy`` and ``KEY.json``."""

    def require(self) -> None:
        """Need nothing."""

    def write(
        self, state: State, prefix: str, sequences: Iterable[Sequence], dtype: str, *, packed: bool
    ) -> Iterator[ByteRange]:
        """Write the shards of a split."""
        number = 0
        for name, shard in _shards(state, prefix, "tar", sequences):
            with state.fresh(name) as out:
                stream = cast(Any, out)
                with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                    for ids, documents in shard:
                        whole = io.BytesIO()
                        np.lib.format.write_array(whole, ids, version=(1, 0), allow_pickle=False)
                        _member(archive, f"{number:09d}.npy", whole.getvalue())
                        held = [
                            {"start": start, "document": json.loads(line)}
                            for start, line in documents
                        ]
                        text = items.dump({"documents": held}).encode()
                        _member(archive, f"{number:09d}.json", text)
                        archive.members = []  # type: ignore[attr-defined]
                        number += 1
            yield out.written

    def read(self, folder: Path, prefix: str, dtype: str) -> Iterator[Sequence]:
        """Yield the samples."""
        for path in _files(folder, prefix, "tar"):
            try:
                with disk.regular(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                    size = os.fstat(stream.fileno()).st_size
                    while (first := _next(tar, size)) is not None:
                        second = _next(tar, size)
                        if second is None or not first[0].endswith(".npy"):
                            raise CodesError(path, "damaged: a sample without its .json")
                        ids = np.lib.format.read_array(io.BytesIO(first[1]), allow_pickle=False)
                        held = items.load(second[1])["documents"]
                        found = [
                            Starting(each["start"], items.dump(each["document"]).encode() + b"\n")
                            for each in held
                        ]
                        yield Sequence(ids, found)
            except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
                raise CodesError(path, f"damaged: {error}") from error


OUTPUTS: dict[str, Output] = {
    "bin": Bin(),
    "parquet": Table("parquet"),
    "arrow": Table("arrow"),
    "tar": Tar(),
}
"""What ``compose --format`` takes."""


def documents(sequences: Iterable[Sequence]) -> Iterator[Document]:
    """Put documents together again from sequences that may cut them.

    Raises:
        CodesError: sequences that do not hold what their documents promise.
    """
    waiting: list[np.ndarray] = []
    listed: Listed | None = None
    length = 0

    def whole() -> Document:
        if listed is None or length != listed.tokens:
            raise CodesError("damaged: documents and sequences are at odds")
        return Document(listed, tuple(each.astype(np.int64) for each in waiting))

    for ids, starting in sequences:
        position = 0
        for start, line in starting:
            if not position <= start <= len(ids):
                raise CodesError("damaged: documents out of order")
            waiting.append(ids[position:start])
            length += start - position
            if listed is not None:
                yield whole()
            elif length:
                raise CodesError("damaged: tokens of no document")
            listed, waiting, length, position = Listed.read(items.load(line)), [], 0, start
        waiting.append(ids[position:])
        length += len(ids) - position
    if listed is not None:
        yield whole()


def _runs(
    documents: Iterable[tuple[int, Listed]], length: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Yield the runs of one kind in a sequence, and of which item each is, if of any."""
    position = 0
    for begin, listed in documents:
        for part in listed.parts:
            start, stop = max(begin + part.start, 0), min(begin + part.start + part.tokens, length)
            if start >= stop:
                continue
            if start > position:
                yield {"kind": "special", "start": position, "length": start - position}, None
            span = {"start": start, "length": stop - start}
            own = None
            if part.source:
                name, label = part.source.get("name"), part.source
                own = {"file": name, "corpus": label["corpus"], "item": label["number"], **span}
            yield {"kind": part.kind, **span}, own
            position = stop
    if position < length:
        yield {"kind": "special", "start": position, "length": length - position}, None


def _shards(
    state: State, prefix: str, suffix: str, sequences: Iterable[Sequence]
) -> Iterator[tuple[str, Iterator[Sequence]]]:
    """Yield the name of each shard and its sequences; there is at least one shard."""
    rest, number = iter(sequences), 0
    first = next(rest, None)
    while number == 0 or first is not None:
        head = [] if first is None else [first]
        yield f"{prefix}-{number:05d}.{suffix}", chain(head, islice(rest, SHARD - len(head)))
        number, first = number + 1, next(rest, None)


def _files(folder: Path, prefix: str, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"{prefix}-[0-9][0-9][0-9][0-9][0-9].{suffix}"))


def _member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))


def _next(archive: tarfile.TarFile, largest: int) -> tuple[str, bytes] | None:
    member = archive.next()
    archive.members = []  # type: ignore[attr-defined]
    if member is None:
        return None
    content = archive.extractfile(member)
    if content is None or not 0 <= member.size <= largest:
        raise CodesError(f"unsafe member {member.name!r}")
    return member.name, content.read()
