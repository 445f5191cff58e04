"""A reader of torch's pickles that builds tensors and inert containers, and never imports a class.

Python's own reader calls whatever a pickle names. Here a pickle may name the builders of tensors,
which are replaced by ours, and classes of a short list, whose objects become ``Inert``: a bag of
the numbers that were in them. Any other name refuses the file. So checkpoints with whole modules in
them (DALL-E), with callbacks or options beside the weights (Lightning, argparse) and TorchScript
archives can be read, and none of their code runs.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqtok.errors import CheckpointError

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_HARMLESS = (
    "argparse", "box", "collections", "dac", "dall_e", "easydict", "encodec", "lightning",
    "lightning_fabric", "numpy", "omegaconf", "pathlib", "pytorch_lightning", "taming", "torch",
    "typing", "__torch__",
)  # fmt: skip
"""Packages whose classes lie about in checkpoints. Their objects become ``Inert``."""

_PLAIN = frozenset(("bool", "bytearray", "complex", "dict", "float", "frozenset", "int", "list",
                    "object", "range", "set", "slice", "str", "tuple"))  # fmt: skip

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_NESTED = 60
_PARTS = 1 << 20
"""Few bytes can hold one list a thousand times, each of which holds another a thousand times."""


class Inert:
    """What an object of a class that was not imported becomes; it does nothing.

    Attributes:
        state: What the pickle put into it: usually a mapping of attributes; None if nothing.
        arguments: What its class would have been called with.
    """

    state: Any = None
    arguments: tuple[Any, ...] = ()

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        """Take any arguments."""
        made = super().__new__(cls)
        made.arguments = arguments
        return made

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Do nothing with them."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forget an item: of mappings and lists of strangers nothing is needed."""

    def append(self, value: Any) -> None:
        """Forget an item."""

    def extend(self, values: Any) -> None:
        """Forget items."""

    def add(self, value: Any) -> None:
        """Forget an item."""

    def __hash__(self) -> int:
        return id(self)


class _Storage:
    """Numbers that tensors share; read from the file when the first tensor is made."""

    def __init__(self, dtype: torch.dtype, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.values: Tensor | None = None

    @property
    def size_bytes(self) -> int:
        return self.count * self.dtype.itemsize

    def fill(self, data: bytes) -> None:
        if len(data) != self.size_bytes:
            raise ValueError(f"{len(data)} bytes found, {self.size_bytes} expected")
        self.values = torch.frombuffer(bytearray(data), dtype=self.dtype) if data else None


class _Later:
    """A tensor of a legacy file, whose numbers follow behind the pickle."""

    def __init__(self, storage: _Storage, *place: Any) -> None:
        self.storage, self.place = storage, place

    def made(self) -> Tensor:
        return _strided(self.storage, *self.place)


def _strided(storage: _Storage, offset: int, size: Any, stride: Any) -> Tensor:
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    if len(size) != len(stride) or min((offset, *size, *stride), default=0) < 0:
        raise ValueError("a tensor with a shape that is none")
    count = 1
    for each in size:
        count *= each
    if count == 0:
        return torch.empty(size, dtype=storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if storage.values is None or last >= storage.count or count > storage.count:
        raise ValueError("a tensor larger than its numbers")
    return torch.as_strided(storage.values, size, stride, offset)


class _Unpickler(pickle.Unpickler):
    """Names of the pickle → our own builders, or ``Inert``, or a refusal."""

    def __init__(self, stream: io.BytesIO, persistent: Callable[[Any], Any]) -> None:
        super().__init__(stream, encoding="latin1")
        self.persistent_load = persistent  # type: ignore[method-assign]

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module)  # as old protocols call it
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return lambda storage, offset, size, stride, *rest: _Later(
                storage, offset, size, stride
            )
        if module == "torch._utils" and name.startswith("_rebuild_parameter"):
            return lambda tensor, *rest: tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch" and name == "Size":
            return tuple
        if module == "builtins" and name in ("set", "frozenset"):
            return {"set": set, "frozenset": frozenset}[name]
        top = module.partition(".")[0]
        if top in _HARMLESS or (top == "builtins" and name in _PLAIN):
            return Inert
        raise _Refused(f"{module}.{name}")


class _Refused(Exception):
    """A name that a checkpoint has no business with."""


def read(path: Path) -> Any:
    """Reads a file of ``torch.save`` or ``torch.jit.save``: tensors, containers, ``Inert``.

    Raises:
        CheckpointError: damaged, or a name in it that is not of a checkpoint.
    """
    try:
        with path.open("rb") as stream:
            zipped = stream.read(4) == b"PK\x03\x04"
        return _tensors(_zipped(path) if zipped else _legacy(path), count())
    except _Refused as error:
        raise CheckpointError(
            path,
            f"refused: it would run {error}",
            hint="nothing of it was run; weights alone are what torch.save(model.state_dict()) "
            "or safetensors write",
        ) from None
    except OSError as error:
        raise CheckpointError(path, f"cannot read: {error.strerror or error}") from error
    except Exception as error:  # a pickle can fail in any way that there is
        text = " ".join(str(error).split())
        raise CheckpointError(path, f"damaged: {text or type(error).__name__}") from error


def is_scripted(path: Path) -> bool:
    """Checks whether a file is a TorchScript archive, which holds code beside its numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False  # what is wrong with it is said by whoever reads it


def modules(found: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors by name of a pickled ``nn.Module`` or a scripted one, with those of its submodules.

    A pickled module keeps parameters, buffers and submodules apart; in a TorchScript archive all
    are attributes, among others, and buffers are there that a ``state_dict`` leaves out.
    """
    state = found.state if isinstance(found, Inert) else found
    if not isinstance(state, dict):
        return
    kinds = [state.get(kind) for kind in ("_parameters", "_buffers", "_modules") if kind in state]
    for held in kinds or [state]:
        for name, value in held.items() if isinstance(held, dict) else ():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            elif isinstance(value, Inert):
                yield from modules(value, f"{prefix}{name}.")


def _load(data: bytes, persistent: Callable[[Any], Any]) -> tuple[Any, int]:
    """Run one pickle of a stream; also where it ends."""
    end = 0
    for opcode, argument, place in pickletools.genops(data):
        # The memo is an array: a large index alone would take all memory.
        if "PUT" in opcode.name and isinstance(argument, int) and argument > len(data):
            raise ValueError("a memo beyond all reason")
        end = (place or 0) + 1
    return _Unpickler(io.BytesIO(data[:end]), persistent).load(), end


def _zipped(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        if "data.pkl" not in names:
            raise ValueError("no data.pkl in it")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()
               if not info.filename.endswith((".py", ".debug_pkl"))):  # fmt: skip
            raise ValueError("compressed")
        if "byteorder" in names and archive.read(names["byteorder"]) != b"little":
            raise ValueError("not little-endian")
        storages: dict[str, _Storage] = {}

        def persistent(found: Any) -> _Storage:
            kind, dtype, key, _, count = found
            if kind != "storage" or not isinstance(dtype, torch.dtype):
                raise ValueError("numbers of an unknown kind")
            if key not in storages:
                storages[key] = _Storage(dtype, int(count))
                storages[key].fill(archive.read(names[f"data/{key}"]))
            return storages[key]

        return _load(archive.read(names["data.pkl"]), persistent)[0]


def _legacy(path: Path) -> Any:
    """Files of torch before 1.6: five pickles, then the numbers of each storage."""
    data = path.read_bytes()
    storages: dict[str, _Storage] = {}

    def persistent(found: Any) -> Any:
        if found[0] == "module":  # a class with its source text
            return found[1]
        _, dtype, key, _, count, view = found
        if view is not None or not isinstance(dtype, torch.dtype):
            raise ValueError("numbers of an unknown kind")
        return storages.setdefault(key, _Storage(dtype, int(count)))

    at, parts = 0, []
    for _ in range(5):
        part, length = _load(data[at:], persistent)
        parts.append(part)
        at += length
        if parts[0] != _LEGACY_MAGIC:
            raise ValueError("a pickle, but not of torch.save")
    for key in parts[4]:
        (count,) = struct.unpack_from("<q", data, at)
        storage = storages[key]
        if count != storage.count:
            raise ValueError("numbers that do not fit their tensors")
        storage.fill(data[at + 8 : at + 8 + storage.size_bytes])
        at += 8 + storage.size_bytes
    return parts[3]


def _tensors(found: Any, seen: Iterator[int], *, depth: int = 0) -> Any:
    """Puts tensors in place of what was to become some; ``seen`` counts the parts."""
    if depth > _NESTED or next(seen) > _PARTS:
        raise ValueError("nested beyond all reason")
    if isinstance(found, _Later):
        return found.made()
    if isinstance(found, dict):
        return {key: _tensors(value, seen, depth=depth + 1) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return type(found)([_tensors(each, seen, depth=depth + 1) for each in found])
    if isinstance(found, Inert):
        found.state = _tensors(found.state, seen, depth=depth + 1)
    return found
