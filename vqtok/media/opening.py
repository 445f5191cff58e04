"""Open a file or a stream for reading, so that every failure is one clear ``MediaError``."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from vqtok.errors import MediaError
from vqtok.errors import os_message as os_message

# Streams up to this size stay in memory; longer ones go to a temporary file: memory stays flat.
SPOOL_BYTES = 1 << 24


def subject(source: Path | BinaryIO) -> str:
    """Names a source or target in errors: its path, "stdin", "stdout" or "stream"."""
    if isinstance(source, Path):
        return str(source)
    name = getattr(source, "name", None)
    return name.strip("<>") if isinstance(name, str) else "stream"


@contextmanager
def seekable(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    """Open a source for reading from its start; pipes are spooled first.

    Streams that the caller opened are left open. They are read from 0, or from where they are if
    they cannot seek.

    Raises:
        MediaError: missing, a directory, unreadable, or empty.
    """
    name = subject(source)
    try:
        if not isinstance(source, Path):
            if source.seekable():
                source.seek(0)
                yield _not_empty(source, name)
            else:
                with spooled(source) as copy:
                    yield _not_empty(copy, name)
        elif stat.S_ISREG(source.stat().st_mode) or source.is_dir():
            with source.open("rb") as stream:
                yield _not_empty(stream, name)
        else:  # a named pipe or /dev/stdin
            with source.open("rb") as stream, spooled(stream) as copy:
                yield _not_empty(copy, name)
    except OSError as error:
        raise MediaError(name, f"cannot read: {os_message(error)}") from error


class _Spool(tempfile.SpooledTemporaryFile[bytes]):
    """A copy that messages call by the name of what it is a copy of."""

    name = ""


@contextmanager
def spooled(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Copy the rest of a stream into a seekable temporary file, removed at the end."""
    with _Spool(max_size=SPOOL_BYTES) as copy:
        copy.name = f"<{subject(stream)}>"
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _not_empty(stream: BinaryIO, name: str) -> BinaryIO:
    if not stream.read(1):
        raise MediaError(name, "empty file")
    stream.seek(0)
    return stream
