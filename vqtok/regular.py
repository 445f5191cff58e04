"""Regular files, opened for reading: never a pipe that waits, nor a device without an end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

NOT_REGULAR = "not a regular file"


def opened(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: as ``open`` does; also a pipe, socket or device, with ``NOT_REGULAR`` as its text.
    """
    _check(path, os.stat(path).st_mode)  # noqa: PTH116 - as of Path, but for what it raises
    # It may be another by now, and to open a pipe is to wait for whoever writes to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    stream = os.fdopen(os.open(path, flags), "rb")
    try:
        _check(path, os.fstat(stream.fileno()).st_mode)
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
        raise OSError(errno.EFBIG, f"larger than {most} bytes", str(path))
    return data


def _check(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
