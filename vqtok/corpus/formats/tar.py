"""Format "tar": WebDataset shards, for each item ``KEY.npy`` and ``KEY.json``.

``KEY.npy`` is the codes file that ``vqtok.codes.files`` writes (``numpy.load`` gives the array),
``KEY.json`` its header with the item's name and number. What is carried follows: ``KEY.cls``,
``KEY.meta.json`` (the item's own JSON) and ``KEY.txt``. Keys hold no dot in their last part, where
WebDataset cuts them. Owner, mode and times are fixed.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, cast

from vqtok.codes import files
from vqtok.codes.spec import CodeSpec
from vqtok.corpus import disk, items
from vqtok.corpus.disk import ByteRange
from vqtok.corpus.format import Format, Staging
from vqtok.corpus.info import CorpusInfo, ShardInfo
from vqtok.corpus.items import KINDS, Entry
from vqtok.errors import CodesError


class Tar(Format):
    """Writes each shard as a tar of two members for each item."""

    name = "tar"
    suffixes = (".npy", ".json")
    dots = False
    carries = KINDS
    beside = MappingProxyType({"cls": ".cls", "json": ".meta.json", "txt": ".txt"})

    def write(self, staging: Staging, shard: int, entries: Iterable[Entry]) -> list[ByteRange]:
        """Write a shard."""
        (name,) = self.shard_files(shard)
        with staging.fresh(name) as out:
            stream = cast(BinaryIO, out)
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for entry in entries:
                    key = staging.keys[entry.number]
                    whole = io.BytesIO()
                    files.write(whole, entry.codes, entry.header, format="npy")
                    _add(archive, key + ".npy", whole.getvalue())
                    _add(archive, key + ".json", items.dump(items.label(entry)).encode())
                    for kind in sorted(entry.carried):
                        _add(archive, key + self.beside[kind], entry.carried[kind])
        return [out.written]

    def read(self, folder: Path, info: CorpusInfo, shard: ShardInfo) -> Iterator[Entry]:
        """Yield a shard's members one after the other; nothing is ever unpacked to disk."""
        (whole,) = shard.ranges
        path = folder / whole.path
        with disk.regular(path) as stream:
            try:
                yield from entries(
                    stream, size=whole.bytes, spec=info.spec, carry=info.identity.carry
                )
            except CodesError as error:
                error.about(path)
                raise
            except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
                raise CodesError(path, f"damaged: {error}") from error


def entries(
    stream: BinaryIO, *, size: int, spec: CodeSpec | None, carry: Sequence[str]
) -> Iterator[Entry]:
    """Yield the items of a tar.

    Args:
        stream: Of the tar.
        size: Its bytes.
        spec: Of all items; None: that of the first.
        carry: What may follow an item's codes.

    Raises:
        CodesError, tarfile.TarError, OSError, ValueError, OverflowError, RecursionError: damaged.
    """
    source = cast(BinaryIO, _Shard(stream, size))
    with tarfile.open(fileobj=source, mode="r:") as archive:
        yield from _entries(archive, spec, carry, largest=size)


def _entries(
    archive: tarfile.TarFile, spec: CodeSpec | None, carry: Sequence[str], *, largest: int
) -> Iterator[Entry]:
    kinds = {Tar.beside[kind]: kind for kind in carry}
    first = _member(archive, largest)
    while first is not None:
        second = _member(archive, largest)
        key = first[0].removesuffix(".npy")
        if second is None or first[0] != f"{key}.npy" or second[0] != f"{key}.json":
            raise CodesError(f"damaged: {first[0]!r} is not followed by its .json")
        codes, header = files.read(io.BytesIO(first[1]), subject="")
        spec = spec or header.spec
        label = items.read_label(items.load(second[1]), spec)
        if label.header != header:
            raise CodesError(f"damaged: {key!r}: two headers that differ")
        carried: dict[str, bytes] = {}
        while (first := _member(archive, largest)) is not None:
            kind = kinds.get(first[0].removeprefix(key))
            if kind is None or not first[0].startswith(key):
                break
            carried[kind] = first[1]
        yield Entry(label.number, label.name, codes, header, carried)


def _member(archive: tarfile.TarFile, largest: int) -> tuple[str, bytes] | None:
    member = archive.next()
    archive.members = []  # type: ignore[attr-defined]  # the library would remember all of them
    if member is None:
        return None
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    if not plain or not 0 <= member.size <= largest:
        # Links and devices do not belong here; sparse members could be larger than any disk.
        raise CodesError(f"unsafe member {member.name!r}")
    content = archive.extractfile(member)
    data = b"" if content is None else content.read()
    if len(data) != member.size:
        raise CodesError("truncated")
    return member.name, data


class _Shard:
    """Gives tarfile no byte beyond the shard's end, whatever a member's header promises."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if size < 0:
            raise tarfile.ReadError("a negative size")
        return self._stream.read(max(0, min(size, self._size - self.tell())))


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))


FORMAT = Tar()
