"""Regular files, opened for reading: never a pipe that waits, nor a device without an end.

What the shell itself opened is read all the same: ``/dev/stdin``, and ``/dev/fd/63`` of ``<(…)``.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from io import BufferedReader
from pathlib import Path

NOT_REGULAR = "not a regular file"

_OF_SHELL = re.compile(r"/dev/(stdin|fd/\d+)|/proc/(self|\d+)/fd/\d+")

_LARGE, _HOLES = 1 << 28, 16
"""A larger file of which not one part in so many is on the disk was made to waste time."""


def opened(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: as ``open`` does; also a pipe, socket, device or a file of holes, with a reason
            for people as its text.
    """
    if is_stream(path):
        return path.open("rb")
    _check(path, path.stat())
    # It may be another by now, and to open a pipe is to wait for whoever writes to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    stream = os.fdopen(os.open(path, flags), "rb")
    try:
        _check(path, os.fstat(stream.fileno()))
    except OSError:
        stream.close()
        raise
    return stream


def read(path: Path, *, most: int) -> bytes:
    """Read a whole small file.

    Raises:
        OSError: as ``opened``, and if it is larger than ``most`` bytes.
    """
    with opened(path) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most >> 20} MB", str(path))
    return data


def is_stream(path: Path) -> bool:
    """Tell whether a path is one by which a shell hands over what it has opened."""
    return _OF_SHELL.fullmatch(str(path)) is not None


def _check(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    stored = 512 * getattr(found, "st_blocks", 0)  # 0 where a file system does not tell
    if found.st_size > _LARGE and 0 < stored * _HOLES < found.st_size:
        raise OSError(errno.EINVAL, "damaged: a file of holes", str(path))
