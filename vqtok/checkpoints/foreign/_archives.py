"""Files of ``torch.save`` and ``torch.jit.save`` as objects of numbers that stay in the file.

Since torch 1.6 a file is a zip archive: a pickle and one member for each storage, none compressed.
Before it was five pickles, then the numbers of each storage. The file is mapped, so that of a
tensor that nobody uses nothing is read, and nothing is ever unpacked.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqtok import regular
from vqtok.checkpoints.foreign._calls import Numbers, Refused, dtype_of
from vqtok.checkpoints.foreign._pickles import Machine
from vqtok.errors import CheckpointError

ZIP = b"PK\x03\x04"

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_CONTENTS = 1 << 22
"""Bytes of an archive's table of contents: some 50 000 members."""

_MEMBER = struct.Struct("<4s22xHH")
"""What stands before the data of a member: a mark, sizes of its name and of what is left over."""


def read(path: Path) -> Any:
    """Reads tensors, containers, and ``Inert`` for all else.

    Raises:
        CheckpointError: damaged, or a name in it that is not of a checkpoint.
    """
    try:
        with regular.opened(path) as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        return _zipped(data) if data[:4] == ZIP else _legacy(data)
    except Refused as error:
        raise CheckpointError(
            path,
            f"refused: it would run {error}",
            hint="nothing of it was run; weights alone are what torch.save(model.state_dict()) "
            "or safetensors write",
        ) from None
    except OSError as error:
        raise CheckpointError(path, f"cannot read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file can fail in any way that there is
        text = " ".join(str(error).split())
        raise CheckpointError(path, f"damaged: {text or type(error).__name__}") from error


class _Contents:
    """The end of a zip archive as ``zipfile`` reads it, in pieces of bounded size."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data

    def tell(self) -> int:
        """Returns where the next piece begins."""
        return self.data.tell()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a position of the file."""
        self.data.seek((0, self.data.tell(), len(self.data))[whence] + offset)
        return self.data.tell()

    def read(self, size: int = -1, /) -> bytes:
        """Read what is asked for, unless a table claims to be larger than any."""
        if (size if size >= 0 else len(self.data) - self.tell()) > _MOST_CONTENTS:
            raise ValueError("a table of contents beyond all reason")
        return self.data.read(size)


class _Members:
    """Where the members of a zip archive lie: each whole, uncompressed, and apart from the others.

    Args:
        data: The file.
    """

    def __init__(self, data: mmap.mmap) -> None:
        with zipfile.ZipFile(_Contents(data)) as archive:
            members, self.data = archive.infolist(), data
            after = archive.start_dir
        self.members: dict[str, tuple[zipfile.ZipInfo, int]] = {}
        for each in sorted(members, key=lambda each: each.header_offset, reverse=True):
            name = each.filename.partition("/")[2]  # they lie in a folder called by the file
            if name in self.members:
                raise ValueError(f"two members called {name}")
            if each.header_offset + _MEMBER.size + each.compress_size > after:
                raise ValueError("members that overlap")
            self.members[name] = each, after
            after = each.header_offset

    def span(self, name: str) -> slice:
        """Where the bytes of a member lie."""
        if name not in self.members:
            raise ValueError(f"no {name} in it")
        member, after = self.members[name]
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError(f"{name} is compressed")
        mark, *sizes = _MEMBER.unpack_from(self.data, member.header_offset)
        start = member.header_offset + _MEMBER.size + sum(sizes)
        if mark != ZIP or member.file_size != member.compress_size:
            raise ValueError(f"{name} is not where it should be")
        if start + member.file_size > after:
            raise ValueError("members that overlap")
        return slice(start, start + member.file_size)

    def content(self, name: str) -> bytes:
        """Returns the bytes of a small member."""
        return self.data[self.span(name)]


def _zipped(data: mmap.mmap) -> Any:
    members = _Members(data)
    swapped = "byteorder" in members.members and members.content("byteorder") == b"big"
    whole = torch.frombuffer(data, dtype=torch.uint8)
    storages: dict[str, Numbers] = {}

    def persistent(found: Any) -> Numbers:
        dtype, key, count, _ = _storage(found)
        if key not in storages:
            values = whole[members.span(f"data/{key}")]
            if len(values) != count * dtype.itemsize:
                size = count * dtype.itemsize
                raise ValueError(f"{len(values)} bytes found, {size} expected")
            storages[key] = Numbers(_numbers(values, dtype, swapped=swapped))
        return _same(storages[key], dtype)

    return Machine(members.content("data.pkl"), persistent).run()


def _legacy(data: mmap.mmap) -> Any:
    """Reads a file of torch before 1.6."""
    storages: dict[str, Numbers] = {}
    taken = 0

    def persistent(found: Any) -> Any:
        nonlocal taken
        if isinstance(found, tuple) and found[:1] == ("module",):  # a class with its source text
            return found[1]
        dtype, key, count, view = _storage(found)
        if key not in storages:
            taken += count * dtype.itemsize
            if taken > len(data):
                raise ValueError("more numbers than the file has bytes")
            storages[key] = Numbers(torch.zeros(count, dtype=dtype))  # filled below
        numbers = _same(storages[key], dtype)
        if view is None:
            return numbers
        _, offset, length = view
        return Numbers(numbers.values.narrow(0, offset, length))

    machine = Machine(data, persistent)
    if machine.run() != _LEGACY_MAGIC:
        raise ValueError("a pickle, but not of torch.save")
    _, _, held, keys = (machine.run() for _ in range(4))
    for key in keys if isinstance(keys, list) else ():
        values = storages[key].values
        if machine.number("<Q") != len(values):
            raise ValueError("numbers that do not fit their tensors")
        raw = machine.take(len(values) * values.element_size())
        if raw:
            values.copy_(torch.frombuffer(bytearray(raw), dtype=values.dtype))
        del storages[key]
    if storages:
        raise ValueError("truncated")
    return held


def _storage(found: Any) -> tuple[torch.dtype, str, int, Any]:
    """Returns what a persistent id says: format of numbers, their name and count, and a view."""
    if not isinstance(found, tuple) or len(found) not in (5, 6) or found[0] != "storage":
        raise ValueError("numbers of an unknown kind")
    _, kind, key, _, count, *view = found
    if not isinstance(key, str) or type(count) is not int or not 0 <= count < 1 << 48:
        raise ValueError("numbers without a name or a count")
    return dtype_of(kind), key, count, view[0] if view else None


def _same(numbers: Numbers, dtype: torch.dtype) -> Numbers:
    if numbers.values.dtype != dtype:
        raise ValueError("numbers of two kinds")
    return numbers


def _numbers(raw: Tensor, dtype: torch.dtype, *, swapped: bool) -> Tensor:
    """Returns bytes as numbers: where they lie, if they lie as this machine needs it."""
    if swapped and dtype.itemsize > 1:
        size = dtype.itemsize // (2 if dtype.is_complex else 1)
        raw = raw.view(-1, size).flip(1).reshape(-1)
    if raw.storage_offset() % dtype.itemsize:
        raw = raw.clone()
    return raw.view(dtype)
