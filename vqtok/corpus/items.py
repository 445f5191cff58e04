"""Items of a corpus: names, numbers and headers as lines of JSON, and what goes along with codes.

An item may carry its caption, its class and its JSON, each as the bytes that it had. A *label* is
the folder in an item's name; tables have a column for it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec, integer
from vqtok.corpus import disk, names
from vqtok.corpus.vocabulary import fits
from vqtok.errors import CodesError

_LONGEST = 1 << 24  # bytes in a line: a header holds a spec, and specs of many levels are long


@dataclass(frozen=True)
class Entry:
    """Holds one item.

    Attributes:
        number: Its position in the corpus' list of names.
        name: Relative POSIX name, "cats/1.png"; safe to build a path below a folder from.
        codes: numpy arrays (B, *axes), B = 1 or the number of channels.
        header: What decoding needs.
        carried: Bytes of what lay beside it: "txt", "cls", "json".
    """

    number: int
    name: str
    codes: Codes
    header: Header
    carried: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """Names an item and its header, without its codes."""

    number: int
    name: str
    header: Header


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def dump(data: Mapping[str, Any]) -> str:
    """Write JSON in the one form that a corpus has: ASCII, sorted, without spaces."""
    return _ENCODER.encode(data)


def load(text: str | bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CodesError: it is none.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CodesError("damaged: not JSON") from error
    if not isinstance(data, dict):
        raise CodesError("damaged: not a JSON object")
    return data


@contextmanager
def checking(subject: object = "") -> Iterator[None]:
    """Turn every way in which JSON can be something else into one error."""
    try:
        yield
    except KeyError as error:
        raise CodesError(subject, f"damaged: {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise CodesError(subject, f"damaged: {error}") from error


def label(entry: Entry) -> dict[str, Any]:
    """Return name, number and the whole header; ``read_label`` reads it back."""
    return {**entry.header.to_json(), "name": entry.name, "number": entry.number}


def short_label(entry: Entry, spec: CodeSpec) -> dict[str, Any]:
    """Return the label without what the corpus' spec says already."""
    known = spec.to_json()
    whole = label(entry)
    return {key: value for key, value in whole.items() if known.get(key, _ABSENT) != value}


def read_label(data: Mapping[str, Any], spec: CodeSpec) -> Label:
    """Read what ``label`` or ``short_label`` made.

    Args:
        data: Untrusted.
        spec: Of the corpus.

    Raises:
        CodesError: a value is missing, unsafe, or of another spec.
    """
    header = Header.from_json({**spec.to_json(), **data})
    if not fits(header.spec, spec):
        raise CodesError("an item of another model than the corpus")
    with checking():
        number = integer(data.get("number"), "number", low=0)
    return Label(number, names.read(data.get("name")), header)


def shapes(data: object, spec: CodeSpec) -> list[tuple[int, ...]]:
    """Check the array shapes of each level, as far as that goes without the extent.

    Raises:
        CodesError: not one list of sizes for each level and axis.
    """
    if not isinstance(data, list) or len(data) != len(spec.levels):
        raise CodesError("damaged: not one shape for each level")
    found = []
    for level, shape in zip(spec.levels, data, strict=True):
        if not isinstance(shape, list) or len(shape) != len(level.axes):
            raise CodesError("damaged: a shape of another rank")
        with checking():
            found.append(tuple(integer(size, "shape") for size in shape))
    return found


def tokens(shapes: Sequence[Sequence[int]]) -> int:
    """Count the codes in one channel of these shapes."""
    return sum(math.prod(shape) for shape in shapes)


def lines(path: Path, *, start: int, size: int) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of some bytes of a file, one a line.

    Raises:
        CodesError: damaged, or a line that is too long to be ours.
        OSError: unreadable.
    """
    with disk.regular(path) as stream:
        stream.seek(start)
        while size:
            line = stream.readline(min(size, _LONGEST))
            if not line.endswith(b"\n"):
                raise CodesError(path, "damaged: a line without an end")
            size -= len(line)
            yield load(line)


_ABSENT = object()


KINDS = ("cls", "json", "txt")
"""Files beside an item that are carried: those suffixes of WebDataset."""

LABEL = "label"

LARGEST = 1 << 24
"""Bytes of one carried file: a caption is far smaller, and whole groups are held in memory."""

_LENGTH = struct.Struct("<I")


def label_of(name: str) -> str:
    """Return the folder of an item's name; "" if it has none."""
    return name.rpartition("/")[0]


def pack(carried: Mapping[str, bytes], codes: bytes) -> bytes:
    """Join what is carried and a codes file into one record of a spool."""
    sizes = dump({kind: len(data) for kind, data in carried.items()}).encode()
    return b"".join(
        [_LENGTH.pack(len(sizes)), sizes, *(carried[k] for k in sorted(carried)), codes]
    )


def unpack(payload: bytes) -> tuple[dict[str, bytes], bytes]:
    """Invert ``pack``.

    Raises:
        CodesError: damaged.
    """
    try:
        (length,) = _LENGTH.unpack_from(payload)
        start = _LENGTH.size + length
        found: dict[str, bytes] = {}
        for kind, size in sorted(load(payload[_LENGTH.size : start]).items()):
            found[kind] = payload[start : start + size]
            start += size
    except (struct.error, TypeError) as error:
        raise CodesError("damaged spool: run the command again") from error
    return found, payload[start:]


def text(kind: str, data: bytes) -> str:
    """Decode what a column of text is to hold.

    Raises:
        CodesError: it is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CodesError(
            f"its {kind} is not UTF-8, which a column of text needs", hint="--format tar holds it"
        ) from error
