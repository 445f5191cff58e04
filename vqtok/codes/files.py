"""One item's codes as a file: ``.npy``, ``.safetensors`` or ``.vqz``, with all that decoding needs.

On disk there is no batch axis: an image or mono recording is ``(h, w)`` or ``(q, t)``, a recording
of C > 1 channels ``(c, q, t)``. ``.safetensors`` holds one tensor per level, named by level.
``.npy`` holds one array, the levels of a hierarchy flattened into one sequence, coarse → fine
(``(c, n)`` for C > 1 channels), and the header as a second record. The same codes and header always
make the same bytes. ``.vqz`` is the same in few bytes (``packed``). Streams (``codes.streams``),
``.npy`` files too, are read wherever codes are.

Codes are held once, written from where they are and read to where they stay.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from vqtok import atomic, regular
from vqtok.codes import _bytes, _layout, npy, safetensors, streams
from vqtok.codes import header as headers
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.codes.packed import MAGIC, SUFFIX
from vqtok.codes.spec import LARGEST, CodeSpec
from vqtok.errors import CodesError, UsageError

if TYPE_CHECKING:
    from vqtok.codes.packed.vqz import Context, Contexts

__all__ = [
    "SUFFIXES",
    "Header",
    "Source",
    "check_model",
    "has_header",
    "is_codes",
    "read",
    "read_foreign",
    "read_header",
    "read_plain",
    "write",
]

SUFFIXES = (".npy", ".safetensors", SUFFIX)
_FORMATS = tuple(suffix[1:] for suffix in SUFFIXES)


def write(
    target: str | Path | BinaryIO,
    codes: Codes,
    header: Header,
    *,
    format: str | None = None,
    context: Context | None = None,
) -> None:
    """Write one item's codes.

    Args:
        target: A path, replaced in one step when the file is whole, or a binary stream.
        codes: Batch of one image, or of the channels of one recording. Tensors are taken to numpy.
        header: Its spec, extent and channels must be those of the codes.
        format: "npy", "safetensors" or "vqz"; None: by the path's suffix, safetensors for a stream.
        context: What ``.vqz`` is packed with; None: counts of the codes alone.

    Raises:
        CodesError: codes out of range or at odds with the header, or a file that cannot be written.
        UsageError: no such format.
    """
    target = Path(target) if isinstance(target, str) else target
    chosen = _format(target, format)
    plain = codes.check().numpy()
    _check_header(plain, header)
    text = headers.encode(header)
    headers.decode(text)  # a header that could not be read back must not be written
    if not isinstance(target, Path):
        _put(target, plain, text, chosen, context)
        return
    try:
        with atomic.file(target) as temporary, temporary.open("wb") as stream:
            _put(stream, plain, text, chosen, context)
    except OSError as error:
        raise CodesError(target, f"cannot write: {error.strerror}") from error


def read(
    source: str | Path | BinaryIO,
    *,
    subject: object = "stdin",
    contexts: Contexts | None = None,
) -> tuple[Codes, Header]:
    """Read a file that ``write`` made, checking everything.

    Args:
        source: A path, or a binary stream, read to its end.
        subject: What errors call a stream.
        contexts: Finds what ``.vqz`` was packed with; None: such files are refused.

    Returns:
        Codes as numpy arrays (B, *axes), B = 1 or the number of channels, and the header.

    Raises:
        CodesError: unreadable, truncated, damaged, foreign, or out of range.
    """
    with _opened(source, subject=subject) as (stream, size):
        if _is_stream(stream):
            return streams.read(streams.Incoming(stream))
        if _is_packed(stream):
            return _unpacked(stream, contexts)
        where, header = _ours(stream, size)
        return _layout.assemble(_arrays(stream, where), header), header


def read_header(source: str | Path) -> Header:
    """Read the header alone: a few small reads, however many codes follow (a stream: each record).

    Raises:
        CodesError: unreadable, truncated, damaged or foreign.
    """
    with _opened(source) as (stream, size):
        if isinstance(stream, streams.Incoming):
            return streams.read(stream)[1]
        if _is_stream(stream):
            return streams.read_closing(stream, size)
        if _is_packed(stream):
            from vqtok.codes.packed import vqz

            return vqz.opened(vqz.whole(stream)).header
        return _ours(stream, size)[1]


def read_foreign(
    source: str | Path | BinaryIO,
    spec: CodeSpec,
    *,
    extent: tuple[int, ...] | None = None,
    contexts: Contexts | None = None,
) -> tuple[Codes, Header]:
    """Read codes that another program wrote without a header, and ours as ``read`` does.

    Args:
        source: A path, or a binary stream, read to its end.
        spec: Of the model that the codes are for.
        extent: Original size; None: grid × stride, the largest that gives these grids.
        contexts: As ``read`` takes it.

    Returns:
        Codes and a header made up from the spec; its ``vqtok`` is "" if the file had none.

    Raises:
        CodesError: unreadable or damaged, no integers, or a shape or range that the spec does not
            allow.
    """
    with _opened(source) as (stream, size):
        if _is_stream(stream):
            return streams.read(streams.Incoming(stream))
        if _is_packed(stream):
            return _unpacked(stream, contexts)
        where, header = _open(stream, size)
        arrays = _arrays(stream, where)
        if header is None:
            arrays, header = _layout.adopt(arrays, spec, extent=extent)
        return _layout.assemble(arrays, header), header


def read_plain(
    source: str | Path | BinaryIO, *, contexts: Contexts | None = None
) -> tuple[Codes, Header] | dict[str, np.ndarray]:
    """Read a file as ``read`` does, or the arrays of one that has no header.

    Raises:
        CodesError: unreadable or damaged, or no integers.
    """
    with _opened(source) as (stream, size):
        if _is_stream(stream):
            return streams.read(streams.Incoming(stream))
        if _is_packed(stream):
            return _unpacked(stream, contexts)
        where, header = _open(stream, size)
        arrays = _arrays(stream, where)
        return arrays if header is None else (_layout.assemble(arrays, header), header)


def has_header(source: Path) -> bool:
    """Tell whether a file says what its codes are; one that cannot be read does not."""
    try:
        with _opened(source) as (stream, size):
            whole = _is_stream(stream) or _is_packed(stream)
            return whole or _open(stream, size)[1] is not None
    except CodesError:
        return False


def is_codes(path: Path) -> bool:
    """Tell by the suffix or, for other suffixes, the first bytes whether a file holds codes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with regular.opened(path) as stream:
            return _begins(stream.read(9))
    except OSError:
        return False


def check_model(header: Header, spec: CodeSpec, *, name: str) -> None:
    """Refuse codes of another model.

    Args:
        header: Of the codes.
        spec: Of the model at hand, with its fingerprint.
        name: Its NAME, for the message.

    Raises:
        CodesError: other fingerprints or, where one is unknown, other levels.
    """
    theirs, ours = header.spec.fingerprint, spec.fingerprint
    same = header.spec.with_fingerprint("") == spec.with_fingerprint("")
    if theirs and theirs == ours and not same:
        # A fingerprint is easily copied; entries are looked up by what the header says.
        raise CodesError(f"damaged header: levels or rate are not those of model {name}")
    if theirs and ours:
        same = theirs == ours
    if same:
        return
    made = header.model or "another model"
    hint = f"pass -m {header.model}" if header.model and header.model != name else None
    raise CodesError(
        f"made with model {made} (fingerprint {theirs or 'unknown'}), "
        f"this model is {name} ({ours or 'unknown'})",
        hint=hint or "codes can only be decoded by the very model that made them",
    )


def _put(stream: BinaryIO, codes: Codes, header: str, format: str, context: Context | None) -> None:
    if format == "vqz":
        from vqtok.codes.packed import vqz

        _bytes.write(stream, memoryview(vqz.dump(codes, header, context)))
    elif format == "npy":
        npy.write(stream, codes.flat(), header)
    else:
        safetensors.write(stream, codes.arrays(), header)


def _format(target: Path | BinaryIO, format: str | None) -> str:
    if format is not None:
        if format not in _FORMATS:
            raise UsageError(
                f"unknown codes format {format!r}", hint=f"known: {', '.join(_FORMATS)}"
            )
        return format
    if not isinstance(target, Path):
        return "safetensors"
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(
            target,
            f"unknown suffix for codes {target.suffix!r}",
            hint=f"known: {', '.join(SUFFIXES)}",
        )
    return target.suffix.lower().lstrip(".")


def _check_header(codes: Codes, header: Header) -> None:
    if header.spec != codes.spec or header.extent != codes.extent:
        raise CodesError("header and codes differ in spec or extent")
    if len(codes) != header.channels:
        raise CodesError(
            f"{len(codes)} items found, {header.channels} expected: a file holds one image or "
            "the channels of one recording"
        )


@contextmanager
def _opened(
    source: str | Path | BinaryIO, *, subject: object = "stdin"
) -> Iterator[tuple[BinaryIO, int]]:
    """Open a seekable stream of known size; errors inside get the source as their subject."""
    source = Path(source) if isinstance(source, str) else source
    subject = source if isinstance(source, Path) else subject
    try:
        place = regular.opened(source) if isinstance(source, Path) else nullcontext(source)
        with place as stream:
            status = os.fstat(stream.fileno()) if isinstance(source, Path) else None
            if status is not None and stat.S_ISREG(status.st_mode):
                yield stream, status.st_size
            else:  # pipes know neither their size nor how to seek
                yield _of_pipe(stream)
    except OSError as error:
        raise CodesError(subject, f"cannot read: {error.strerror}") from error
    except CodesError as error:
        error.about(subject)
        raise


def _begins(head: bytes) -> bool:
    return head.startswith((npy.MAGIC, MAGIC)) or safetensors.looks_like(head)


def _of_pipe(stream: BinaryIO) -> tuple[BinaryIO, int]:
    """Make a file of what a pipe holds: it is read to where the codes say that they end.

    One byte more is asked for, so that what follows is found and never read, and nothing that has
    no end is. A stream of codes is given as it is.

    Raises:
        CodesError: damaged, or more than ``streams.MOST_HELD``.
    """
    incoming = streams.Incoming(stream)
    if incoming.is_codes_stream():
        return cast(BinaryIO, incoming), -1
    whole = _bytes.Spool(cast(BinaryIO, incoming))
    head = whole.read(9)
    whole.seek(0)
    stop = whole.hold(streams.MOST_HELD + 1) if head.startswith(MAGIC) else len(head)
    if head.startswith(npy.MAGIC):
        stop = _checked(npy.next_record(whole).stop)
        if whole.hold(stop + 1) > stop:
            whole.seek(stop)
            stop = npy.next_record(whole, stop).stop
    elif safetensors.looks_like(head):
        start = 8 + int.from_bytes(head[:8], "little")
        is_there = whole.hold(start) == start
        stop = safetensors.table(whole, LARGEST).stop if is_there else start
    size = whole.hold(_checked(stop) + 1)
    whole.seek(0)
    return whole, size


def _checked(stop: int) -> int:
    if stop > streams.MOST_HELD:
        raise CodesError(
            f"{stop} bytes of codes in a pipe, at most {streams.MOST_HELD} are held in memory",
            hint="save them to a file first",
        )
    return stop


def _is_packed(stream: BinaryIO) -> bool:
    stream.seek(0)
    found = stream.read(len(MAGIC)) == MAGIC
    stream.seek(0)
    return found


def _unpacked(stream: BinaryIO, contexts: Contexts | None) -> tuple[Codes, Header]:
    from vqtok.codes.packed import vqz

    return vqz.load(vqz.whole(stream), contexts)


def _is_stream(stream: BinaryIO) -> bool:
    if isinstance(stream, streams.Incoming):
        return True
    stream.seek(0)
    found = streams.Incoming(stream).is_codes_stream()
    stream.seek(0)
    return found


def _open(stream: BinaryIO, size: int) -> tuple[npy.Record | safetensors.Table, Header | None]:
    """Find the arrays and the header; no header: another program's file."""
    if size == 0:
        raise CodesError("empty file")
    head = stream.read(9)
    if head.startswith(npy.MAGIC):
        first = npy.record(stream, 0, size)
        if first.stop == size:
            return first, None
        second = npy.record(stream, first.stop, size)
        if second.dtype[-2:] != "u1" or len(second.shape) != 1 or second.stop != size:
            raise CodesError("damaged header: not the second and last record")
        return first, headers.decode(npy.array(stream, second).tobytes())
    if safetensors.looks_like(head):
        table = safetensors.table(stream, size)
        return table, None if table.vqtok is None else headers.decode(table.vqtok)
    if len(head) < 9:
        raise CodesError("truncated")
    raise CodesError("not a codes file", hint=f"known: {', '.join(SUFFIXES)}")


def _ours(stream: BinaryIO, size: int) -> tuple[npy.Record | safetensors.Table, Header]:
    where, header = _open(stream, size)
    if header is None:
        kind = "an array" if isinstance(where, npy.Record) else "a safetensors file"
        raise CodesError(
            f"{kind} without a vqtok header: another program wrote it",
            hint="pass -m NAME to say which model's codes these are",
        )
    return where, header


def _arrays(stream: BinaryIO, where: npy.Record | safetensors.Table) -> dict[str, np.ndarray]:
    if isinstance(where, npy.Record):
        return {_layout.UNNAMED: npy.array(stream, where)}
    return safetensors.arrays(stream, where)
