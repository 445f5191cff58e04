"""Format "files": a ``.safetensors`` for each item, in the tree of the names; ``items.jsonl``.

Each line of ``items.jsonl`` holds an item's name and number, its file's path, size and SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from vqtok.codes import files
from vqtok.codes.spec import integer
from vqtok.corpus import disk, items, names
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.format import Format
from vqtok.corpus.info import CorpusInfo, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.names import ITEMS
from vqtok.corpus.staging import Staging
from vqtok.corpus.vocabulary import fits
from vqtok.errors import CodesError

SUFFIX = ".safetensors"


class Files(Format):
    """Writes each item as a codes file of its own."""

    name = "files"
    growing = (ITEMS,)
    suffixes = (SUFFIX,)
    item_files = True

    def write(self, staging: Staging, shard: int, entries: Iterable[Entry]) -> list[ByteRange]:
        """Write a shard's files and their lines."""
        touched: set[Path] = set()
        written: list[Path] = []
        with staging.growing(ITEMS) as listing:
            for entry in entries:
                path = staging.keys[entry.number] + SUFFIX
                *folders, last = path.split("/")
                parent = disk.subfolder(staging.folder, tuple(folders))
                with disk.Output(staging.state / "new-item") as out:
                    files.write(
                        cast(BinaryIO, out), entry.codes, entry.header, format="safetensors"
                    )
                    out.flush()
                os.replace(staging.state / "new-item", parent / last)  # noqa: PTH105
                written.append(parent / last)
                touched.update([parent, *list(parent.parents)[: len(folders)]])
                line = {
                    "name": entry.name,
                    "number": entry.number,
                    "path": path,
                    "bytes": out.size,
                    "sha256": out.written.sha256,
                }
                listing.write(items.dump(line).encode() + b"\n")
        disk.sync_files(written)
        for folder in sorted(touched):
            disk.sync_folder(folder)
        return [listing.written]

    def read(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Entry]:
        """Yield the items of a shard from their files."""
        (listed,) = shard.ranges
        for line in items.lines(folder / ITEMS, start=listed.start, size=listed.bytes):
            path = names.read(line.get("path"))
            try:
                number = integer(line.get("number"), "number", low=0)
                size = integer(line.get("bytes"), "bytes")
            except ValueError as error:
                raise CodesError(folder / ITEMS, f"damaged: {error}") from error
            data = _content(folder / path, size)
            if hashlib.sha256(data).hexdigest() != line.get("sha256"):
                raise CodesError(folder / path, "damaged: another checksum than when written")
            codes, header = files.read(io.BytesIO(data), subject=folder / path)
            if not fits(header.spec, info.spec):
                raise CodesError(folder / path, "codes of another model than the corpus")
            yield Entry(number, names.read(line.get("name")), codes, header)


def _content(path: Path, size: int) -> bytes:
    try:
        with disk.regular(path) as stream:
            found = os.fstat(stream.fileno()).st_size
            if found != size:
                raise CodesError(path, f"{found} bytes found, {size} expected")
            return stream.read()
    except OSError as error:
        raise CodesError(path, f"cannot read: {error.strerror}") from error


FORMAT = Files()
