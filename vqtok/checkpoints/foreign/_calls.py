"""What names and calls in a pickle become: a tensor, a container, an inert object, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
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
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}

_RUNNERS = frozenset(
    ("asyncio", "bdb", "code", "codeop", "commands", "ctypes", "ftplib", "http", "importlib",
     "imp", "marshal", "multiprocessing", "nt", "os", "pdb", "pip", "posix", "pty", "runpy",
     "shutil", "smtplib", "socket", "subprocess", "sys", "tempfile", "timeit", "urllib",
     "webbrowser")
)  # fmt: skip
"""Packages that only an attack names. Nothing of any package is run; of these it is said."""

_RUN = frozenset(
    f"builtins.{name}"
    for name in ("__import__", "apply", "breakpoint", "compile", "delattr", "eval", "exec",
                 "execfile", "exit", "globals", "input", "locals", "open", "quit", "setattr")
)  # fmt: skip

ORDERED = "collections.OrderedDict"

_MOST_DIMS = 64


class Refused(Exception):
    """A name that a checkpoint has no business with."""


class Name:
    """A class or function of some package, not imported."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class Inert:
    """What an object of a class that was not imported becomes; it does nothing.

    Attributes:
        made: What was called to make it.
        arguments: What it was called with.
        state: What the pickle put into it: usually a mapping of attributes; None if nothing.
        items: Of an object that is a mapping; None if nothing was put there.
    """

    __slots__ = ("arguments", "items", "made", "state")

    def __init__(self, made: object, arguments: object) -> None:
        self.made, self.arguments = made, arguments
        self.state: Any = None
        self.items: dict[Any, Any] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Numbers:
    """A storage: numbers that tensors share, one-dimensional."""

    values: Tensor


def named(module: str, name: str) -> Name:
    """Returns what a name becomes.

    Raises:
        Refused: it is of a package that only an attack names.
    """
    module = {"__builtin__": "builtins"}.get(module, module)  # as old protocols call it
    text = f"{module}.{name}"
    if module.partition(".")[0] in _RUNNERS or text in _RUN:
        raise Refused(text)
    return Name(text)


def dtype_of(found: object) -> torch.dtype:
    """Returns the format of numbers that a name stands for.

    Raises:
        ValueError: it stands for none.
    """
    text = found.text if isinstance(found, Name) else ""
    module, _, name = text.rpartition(".")
    dtype = _STORAGES.get(name) or (vars(torch).get(name) if module == "torch" else None)
    if not isinstance(dtype, torch.dtype) or module.partition(".")[0] != "torch":
        raise ValueError("numbers of an unknown kind")
    return dtype


def called(function: object, arguments: tuple[Any, ...]) -> Any:
    """Returns what a call gives: what a builder of ours makes, else an inert object.

    Raises:
        Refused: a method is called, of whatever class.
        ValueError: a tensor that does not hold together.
    """
    if isinstance(function, Inert):
        # Nested classes are asked for by getattr and made; methods are asked for and run.
        if isinstance(function.made, Name) and function.made.text == "builtins.getattr":
            _check_attribute(function.arguments)
        return Inert(function, arguments)
    builder = _BUILDERS.get(function.text) if isinstance(function, Name) else None
    built = None if builder is None else builder(*arguments[:8])
    return Inert(function, arguments) if built is None else built


def _check_attribute(arguments: object) -> None:
    owner, name = arguments if isinstance(arguments, tuple) and len(arguments) == 2 else (0, "")
    if not (isinstance(name, str) and name[:1].isupper()):
        raise Refused(f"{owner.text if isinstance(owner, Name) else 'an object'}.{name}")


def _rebuilt(storage: Any = None, offset: Any = 0, size: Any = (), stride: Any = (),
             *rest: Any) -> Tensor | None:  # fmt: skip
    """Returns a tensor of numbers that lie in the file."""
    if not isinstance(storage, Numbers):
        return None
    if len(rest) > 2 and rest[2]:  # conjugate or negative views: not the numbers that are stored
        raise ValueError("a tensor that is not its numbers")
    return _strided(storage.values, offset, size, stride)


def _retyped(storage: Any = None, offset: Any = 0, size: Any = (), stride: Any = (),
             *rest: Any) -> Tensor | None:  # fmt: skip
    """Returns a tensor of numbers whose storage does not tell their format."""
    if not isinstance(storage, Numbers) or len(rest) < 3:
        return None
    return _strided(storage.values.view(dtype_of(rest[2])), offset, size, stride)


def _strided(values: Tensor, offset: Any, size: Any, stride: Any) -> Tensor:
    if not isinstance(size, tuple | list) or not isinstance(stride, tuple | list):
        raise ValueError("a tensor without a shape")
    whole = all(type(each) is int and 0 <= each < 1 << 62 for each in (offset, *size, *stride))
    if not whole or len(size) != len(stride) or len(size) > _MOST_DIMS:
        raise ValueError("a tensor with a shape that is none")
    count, last = 1, offset
    for n, step in zip(size, stride, strict=True):
        count *= n
        last += (n - 1) * step
    if count == 0:
        return torch.empty(tuple(size), dtype=values.dtype)
    if last >= len(values) or count > len(values):  # strides of zero make a terabyte of one number
        raise ValueError("a tensor larger than its numbers")
    return values.as_strided(tuple(size), tuple(stride), values.storage_offset() + offset)


def _first(tensor: Any = None, *rest: Any) -> Tensor | None:
    return tensor if isinstance(tensor, Tensor) else None


def _of_subclass(function: Any = None, kind: Any = None, arguments: Any = (), *rest: Any) -> Any:
    """Returns the tensor of a subclass, as which it is not rebuilt."""
    if not isinstance(arguments, tuple) or not isinstance(function, Name):
        return None
    made = None if function.text == _SUBCLASS else called(function, arguments)
    return made if isinstance(made, Tensor) else None


def _mapping(*arguments: Any) -> Any:
    return None if arguments else {}


def _list(items: Any = (), *rest: Any) -> Any:
    return items if isinstance(items, list | tuple) else None


_SUBCLASS = "torch._tensor._rebuild_from_type_v2"

_BUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuilt,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_tensor_v3": _retyped,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    _SUBCLASS: _of_subclass,
    ORDERED: _mapping,
    "builtins.dict": _mapping,
    "builtins.set": _list,
    "builtins.frozenset": _list,
    "torch.Size": _list,
}
