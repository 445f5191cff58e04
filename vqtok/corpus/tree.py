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
from vqtok.corpus import disk, items, names, place
from vqtok.corpus.info import CorpusInfo, Extent, ShardInfo
from vqtok.corpus.items import Entry
from vqtok.corpus.kinds import ITEMS
from vqtok.corpus.place import Place
from vqtok.corpus.vocabulary import fits
from vqtok.errors import CodesError

SUFFIX = ".safetensors"


def compose(where: Place, shard: int, entries: Iterable[Entry]) -> list[Extent]:
    """Write a shard's files and their lines."""
    start = where.lengths.get(ITEMS, 0)
    touched = set()
    written = []
    with where.growing(ITEMS) as listing:
        for entry in entries:
            path = where.keys[entry.number] + SUFFIX
            *folders, last = path.split("/")
            parent = disk.subfolder(where.folder, tuple(folders))
            with disk.Output(where.state / "new-item") as out:
                files.write(cast(BinaryIO, out), entry.codes, entry.header, format="safetensors")
                out.flush()
            os.replace(where.state / "new-item", parent / last)  # noqa: PTH105
            written.append(parent / last)
            touched.update([parent, *list(parent.parents)[: len(folders)]])
            line = {
                "name": entry.name,
                "number": entry.number,
                "path": path,
                "bytes": out.size,
                "sha256": out.hexdigest(),
            }
            listing.write(items.dump(line).encode() + b"\n")
    disk.sync_files(written)
    for folder in sorted(touched):
        disk.sync_folder(folder)
    return [place.extent(ITEMS, listing, start=start)]


def read(folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Entry]:
    """Read a shard's files, its lines being checked already."""
    (listed,) = shard.extents
    with disk.regular(folder / listed.path) as stream:
        for line in items.lines(stream, start=listed.start, size=listed.bytes):
            path, size, sha256 = names.read(line.get("path")), line.get("bytes"), line.get("sha256")
            try:
                number = integer(line.get("number"), "number", low=0)
                size = integer(size, "bytes")
            except ValueError as error:
                raise CodesError(f"{folder / listed.path}: damaged: {error}") from error
            data = _content(folder / path, size)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise CodesError(f"{folder / path}: damaged: another checksum than when written")
            try:
                codes, header = files.read(io.BytesIO(data))
            except CodesError as error:
                raise CodesError(f"{folder / path}: {error}", hint=error.hint) from error
            if not fits(header.spec, info.spec):
                raise CodesError(f"{folder / path}: codes of another model than the corpus")
            yield Entry(number, names.read(line.get("name")), codes, header)


def _content(path: Path, size: int) -> bytes:
    try:
        with disk.regular(path) as stream:
            found = os.fstat(stream.fileno()).st_size
            if found != size:
                raise CodesError(f"{path}: {found} bytes found, {size} expected")
            return stream.read()
    except OSError as error:
        raise CodesError(f"{path}: cannot read: {error.strerror}") from error
