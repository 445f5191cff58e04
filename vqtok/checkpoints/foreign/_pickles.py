"""A machine for pickles that builds tensors, containers of Python and inert objects, nothing else.

Python's own reader imports and calls whatever a pickle names, and hashes whatever it uses as a key;
torch's restricted one hashes too. Here each instruction is carried out by us: a name is never
imported, and a call becomes an ``Inert`` but for the few builders of tensors, which are ours. So
what lies beside the weights (options, dates, numbers of numpy, states of random generators, whole
modules) is read past, and none of its code runs.

An instruction takes time by its own length: nothing nested is hashed or compared, what is there
already is not copied, and the memo is a mapping. The instructions of a file are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol, overload

from vqtok.checkpoints.foreign._calls import ORDERED, Inert, Name, called, named

_STEPS = 1 << 20
"""Instructions of one file: some 30 000 tensors."""

_LONGEST_NAME = 1000
_SIZES = {"<B": 1, "<H": 2, "<I": 4, "<i": 4, "<Q": 8}
_STOP, _MARK, _BINGET, _LONG_BINPUT, _BININT1 = b".(hrK"
_LARGEST_NUMBER = 256
"""Bytes of an integer; random generators keep some of 16."""

_MOST_KEY = 1 << 64
"""Python hashes integers by a remainder: any number of larger ones collide."""


class Bytes(Protocol):
    """``bytes``, or a file that is mapped: pieces of it are read when they are asked for."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, at: int, /) -> int: ...

    @overload
    def __getitem__(self, piece: slice, /) -> bytes: ...

    def find(self, part: bytes, start: int, stop: int, /) -> int: ...


class Machine:
    """Carries out pickles that lie one behind the other.

    Args:
        data: Holds them.
        persistent: Gives what a persistent id stands for.

    Attributes:
        at: Where the next pickle begins.
    """

    def __init__(self, data: Bytes, persistent: Callable[[Any], Any]) -> None:
        self.data, self.persistent = data, persistent
        self.at, self.steps = 0, _STEPS
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Returns the object of the next pickle.

        Raises:
            Refused: it names what no checkpoint has business with.
            ValueError, LookupError, struct.error: damaged, or beyond all reason.
        """
        self.stack, self.marks, self.memo = [], [], {}
        stack, marks, memo = self.stack, self.marks, self.memo
        data, size = self.data, len(self.data)
        while self.steps > 0:
            if self.at >= size:
                raise ValueError("truncated")
            code = data[self.at]
            self.at += 1
            self.steps -= 1
            if code == _STOP:
                return stack.pop()
            # Most instructions are these, which need not wait for a call.
            if code == _BINGET:
                stack.append(memo[data[self.at]])
                self.at += 1
            elif code == _LONG_BINPUT:
                self.remember(int.from_bytes(data[self.at : self.at + 4], "little"))
                self.at += 4
            elif code == _BININT1:
                stack.append(data[self.at])
                self.at += 1
            elif code == _MARK:
                marks.append(len(stack))
            else:
                _OPERATIONS[code](self)
        raise ValueError("a pickle beyond all reason")

    def take(self, count: int) -> bytes:
        """Read the next bytes."""
        start = self.at
        self.at = stop = start + count
        if stop > len(self.data):
            raise ValueError("truncated")
        return self.data[start:stop]

    def number(self, form: str) -> int:
        """Read a number that says where or how long something is."""
        size = _SIZES[form]
        return int.from_bytes(self.take(size), "little", signed=form == "<i")

    def line(self) -> str:
        """Read a name or a number in letters."""
        end = self.data.find(b"\n", self.at, self.at + _LONGEST_NAME)
        if end < 0:
            raise ValueError("a name beyond all reason")
        found = self.take(end - self.at).decode("utf-8", "surrogateescape")
        self.at += 1
        return found

    def remember(self, at: int) -> None:
        """Put what is on top of the stack into the memo."""
        if not 0 <= at <= len(self.data):
            raise ValueError("a memo beyond all reason")
        self.memo[at] = self.stack[-1]

    def marked(self) -> list[Any]:
        """Take what lies above the last mark."""
        mark = self.marks.pop()
        found = self.stack[mark:]
        del self.stack[mark:]
        return found

    def put(self, pairs: list[Any]) -> None:
        """Put keys and values into the mapping on top of the stack."""
        held = self.stack[-1]
        if isinstance(held, Inert):
            held.items = held.items or {}
            held = held.items
        if not isinstance(held, dict) or len(pairs) % 2:
            raise ValueError("items of something that has none")
        for index in range(0, len(pairs), 2):
            held[_key(pairs[index])] = pairs[index + 1]

    def extend(self, values: list[Any]) -> None:
        """Append to the list on top of the stack; of lists of strangers nothing is needed."""
        held = self.stack[-1]
        if isinstance(held, list):
            held.extend(values)
        elif not isinstance(held, Inert):
            raise ValueError("items of something that has none")

    def call(self, function: object, arguments: object) -> Any:
        """Returns what a call becomes."""
        if not isinstance(function, Name | Inert) or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is no function")
        pairs = arguments[0] if arguments and isinstance(arguments[0], list) else ()
        if pairs and isinstance(function, Name) and function.text == ORDERED:
            return self.ordered(pairs)  # as Python 2 wrote mappings
        return called(function, arguments)

    def ordered(self, pairs: list[Any]) -> dict[Any, Any]:
        """Returns a mapping of a list of pairs, which costs as much as to write it."""
        self.steps -= len(pairs)
        if not all(isinstance(each, list | tuple) and len(each) == 2 for each in pairs):
            raise ValueError("items that are no pairs")
        return {_key(key): value for key, value in pairs}

    def build(self, state: Any) -> None:
        """Give a state to the object on top of the stack; containers and tensors have none."""
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state


def _key(found: Any) -> Any:
    """Returns what stands for a key: values of Python that are not nested, and things as such."""
    kind = type(found)
    if kind is str or found is None or kind in (bytes, bool, float, Name, Inert):
        return found
    if kind is int and -_MOST_KEY < found < _MOST_KEY:
        return found
    if kind is tuple and all(type(each) in (str, int, float, bool, bytes) for each in found):
        return Inert(None, found)  # tuples of numbers can be made to collide
    raise ValueError("nested beyond all reason: a container as a key")


def _whole(data: bytes) -> Any:
    if len(data) > _LARGEST_NUMBER:
        return Inert(None, ())
    return int.from_bytes(data, "little", signed=True)


def _integer(text: str) -> Any:
    return {"00": False, "01": True}.get(text) if text in ("00", "01") else int(text.rstrip("L"))


def _quoted(text: str) -> str:
    return text[1:-1]  # what Python 2 quoted: only ever read past


_Operation = Callable[[Machine], Any]


def _value(read: _Operation) -> _Operation:
    """Push what is read."""

    def operation(machine: Machine) -> None:
        machine.stack.append(read(machine))

    return operation


def _text(form: str) -> _Operation:
    return _value(lambda m: m.take(m.number(form)).decode("utf-8", "surrogatepass"))


def _latin(form: str) -> _Operation:
    return _value(lambda m: m.take(m.number(form)).decode("latin1"))


def _raw(form: str) -> _Operation:
    return _value(lambda m: m.take(m.number(form)))


def _get(read: Callable[[Machine], int]) -> _Operation:
    return _value(lambda m: m.memo[read(m)])


def _remember(read: Callable[[Machine], int]) -> _Operation:
    return lambda m: m.remember(read(m))


def _tuple(count: int) -> _Operation:
    def operation(machine: Machine) -> None:
        if len(machine.stack) < count:
            raise ValueError("nothing on the stack")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return operation


def _above(use: Callable[[Machine, list[Any]], Any]) -> _Operation:
    """Replace what lies above the last mark by something made of it."""

    def operation(machine: Machine) -> None:
        found = machine.marked()
        made = use(machine, found)
        machine.stack.append(made)

    return operation


def _dictionary(machine: Machine, pairs: list[Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    machine.stack.append(made)
    machine.put(pairs)
    machine.stack.pop()
    return made


def _instance(machine: Machine, found: list[Any]) -> Any:
    return machine.call(found[0], tuple(found[1:]))


def _pop_mark(machine: Machine) -> None:
    machine.marked()


def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _reduce(machine: Machine) -> None:
    arguments = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], arguments)


def _new(machine: Machine) -> None:
    """Make an object without calling its class."""
    arguments = machine.stack.pop()
    function = machine.stack.pop()
    if isinstance(function, Name) and not arguments:
        machine.stack.append(machine.call(function, ()))
    else:
        machine.stack.append(Inert(function, arguments))


def _new_named(machine: Machine) -> None:
    machine.stack.pop()
    _new(machine)


def _stack_global(machine: Machine) -> Name:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("a name that is none")
    return named(module, name)


_BY_BYTE: dict[bytes, _Operation] = {
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),  # frames are no more than a hint
    b"0": _pop,
    b"1": _pop_mark,
    b"2": _value(lambda m: m.stack[-1]),
    b"N": _value(lambda m: None),
    b"\x88": _value(lambda m: True),
    b"\x89": _value(lambda m: False),
    b"I": _value(lambda m: _integer(m.line())),
    b"L": _value(lambda m: _integer(m.line())),
    b"J": _value(lambda m: m.number("<i")),
    b"M": _value(lambda m: m.number("<H")),
    b"\x8a": _value(lambda m: _whole(m.take(m.number("<B")))),
    b"\x8b": _value(lambda m: _whole(m.take(m.number("<I")))),
    b"F": _value(lambda m: float(m.line())),
    b"G": _value(lambda m: struct.unpack(">d", m.take(8))[0]),
    b"S": _value(lambda m: _quoted(m.line())),
    b"V": _value(lambda m: m.line()),
    b"T": _latin("<I"),
    b"U": _latin("<B"),
    b"X": _text("<I"),
    b"\x8c": _text("<B"),
    b"\x8d": _text("<Q"),
    b"B": _raw("<I"),
    b"C": _raw("<B"),
    b"\x8e": _raw("<Q"),
    b"\x96": _raw("<Q"),
    b"g": _get(lambda m: int(m.line())),
    b"j": _get(lambda m: m.number("<I")),
    b"p": _remember(lambda m: int(m.line())),
    b"q": _remember(lambda m: m.number("<B")),
    b"\x94": _remember(lambda m: len(m.memo)),
    b")": _value(lambda m: ()),
    b"]": _value(lambda m: []),
    b"}": _value(lambda m: {}),
    b"\x8f": _value(lambda m: []),  # sets are lists here: their items need not be hashed
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"t": _above(lambda m, found: tuple(found)),
    b"l": _above(lambda m, found: found),
    b"\x91": _above(lambda m, found: found),
    b"d": _above(_dictionary),
    b"a": lambda m: m.extend([m.stack.pop()]),
    b"e": lambda m: m.extend(m.marked()),
    b"\x90": lambda m: m.extend(m.marked()),
    b"s": lambda m: m.put([*reversed((m.stack.pop(), m.stack.pop()))]),
    b"u": lambda m: m.put(m.marked()),
    b"b": lambda m: m.build(m.stack.pop()),
    b"R": _reduce,
    b"\x81": _new,
    b"\x92": _new_named,
    b"o": _above(_instance),
    b"i": _above(lambda m, found: m.call(named(m.line(), m.line()), tuple(found))),
    b"c": _value(lambda m: named(m.line(), m.line())),
    b"\x93": _value(_stack_global),
    b"Q": _value(lambda m: m.persistent(m.stack.pop())),
}
"""Instruction → what it does; without those of extension registries and of buffers elsewhere."""


def _unknown(machine: Machine) -> None:
    raise ValueError("not an instruction of a pickle")


_OPERATIONS = [_BY_BYTE.get(bytes((code,)), _unknown) for code in range(256)]
