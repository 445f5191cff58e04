"""Format "files": a ``.safetensors`` for each item, in the tree of the names; ``items.jsonl``.

Each line of ``items.jsonl`` holds an item's name and number, its file's path, size and SHA-256.
What is carried are files beside it (``KEY.txt``, ``KEY.cls``, ``KEY.json``), and so listed under
"carried".
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, cast

from vqtok.codes import files
from vqtok.codes.spec import integer
from vqtok.corpus import disk, items, names
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.format import Format, Staging
from vqtok.corpus.info import CorpusInfo, ShardInfo
from vqtok.corpus.items import KINDS, Entry, checking
from vqtok.corpus.names import ITEMS
from vqtok.corpus.vocabulary import fits
from vqtok.errors import CodesError

SUFFIX = ".safetensors"


class Files(Format):
    """Writes each item as a codes file of its own."""

    name = "files"
    growing = (ITEMS,)
    suffixes = (SUFFIX,)
    item_files = True
    carries = KINDS
    beside = MappingProxyType({kind: f".{kind}" for kind in KINDS})

    def write(self, staging: Staging, shard: int, entries: Iterable[Entry]) -> list[ByteRange]:
        """Write a shard's files and their lines."""
        touched: set[Path] = set()
        written: list[Path] = []
        with staging.growing(ITEMS) as listing:
            for entry in entries:
                key = staging.keys[entry.number]
                *folders, last = key.split("/")
                parent = disk.subfolder(staging.folder, tuple(folders))
                touched.update([parent, *list(parent.parents)[: len(folders)]])
                line = {"name": entry.name, "number": entry.number, "path": key + SUFFIX}
                with _item(staging, parent / (last + SUFFIX), line) as out:
                    files.write(
                        cast(BinaryIO, out), entry.codes, entry.header, format="safetensors"
                    )
                written.append(parent / (last + SUFFIX))
                carried: dict[str, dict[str, Any]] = {}
                for kind, data in sorted(entry.carried.items()):
                    suffix = self.beside[kind]
                    facts = carried[kind] = {"path": key + suffix}
                    with _item(staging, parent / (last + suffix), facts) as out:
                        out.write(data)
                    written.append(parent / (last + suffix))
                if carried:
                    line["carried"] = carried
                listing.write(items.dump(line).encode() + b"\n")
        disk.sync_files(written)
        for folder in sorted(touched):
            disk.sync_folder(folder)
        return [listing.written]

    def read(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Entry]:
        """Yield the items of a shard from their files."""
        (listed,) = shard.ranges
        for line in items.lines(folder / ITEMS, start=listed.start, size=listed.bytes):
            with checking(folder / ITEMS):
                number = integer(line.get("number"), "number", low=0)
            path, data = _listed(folder, line)
            kinds = line.get("carried", {})
            if not isinstance(kinds, dict) or not set(kinds) <= set(info.identity.carry):
                raise CodesError(folder / ITEMS, "damaged: it carries what the corpus does not")
            carried = {kind: _listed(folder, each)[1] for kind, each in sorted(kinds.items())}
            codes, header = files.read(io.BytesIO(data), subject=path)
            if not fits(header.spec, info.spec):
                raise CodesError(path, "codes of another model than the corpus")
            yield Entry(number, names.read(line.get("name")), codes, header, carried)


@contextmanager
def _item(staging: Staging, target: Path, line: dict[str, Any]) -> Iterator[disk.Output]:
    """Write a file that appears whole, and what the listing says of it."""
    with disk.Output(staging.state / "new-item") as out:
        yield out
        out.flush()
    os.replace(staging.state / "new-item", target)  # noqa: PTH105
    line |= {"bytes": out.size, "sha256": out.written.sha256}


def _listed(folder: Path, line: object) -> tuple[Path, bytes]:
    """Read a file that the listing names, as it was written."""
    if not isinstance(line, dict):
        raise CodesError(folder / ITEMS, "damaged: not an object")
    path = folder / names.read(line.get("path"))
    with checking(folder / ITEMS):
        size = integer(line.get("bytes"), "bytes", low=0)
    data = _content(path, size)
    if hashlib.sha256(data).hexdigest() != line.get("sha256"):
        raise CodesError(path, "damaged: another checksum than when written")
    return path, data


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
