"""One process at a time writes a corpus."""

from __future__ import annotations

import os
from pathlib import Path

from vqtok.errors import UsageError

_held: set[int] = set()


class Lock:
    """A lock on a folder itself, so that no file of it can be left over; it ends with the process.

    Where the system or the file system knows no such locks, nothing is locked.

    Args:
        folder: Exists.

    Raises:
        UsageError: another process has it.
        OSError: not a folder that can be read.
    """

    def __init__(self, folder: Path) -> None:
        self._file: int | None = None
        try:
            import fcntl
        except ImportError:  # not a POSIX system
            return
        self._file = os.open(folder, os.O_RDONLY)
        _held.add(self._file)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise UsageError(
                f"{folder}: another process is writing this corpus", hint="wait for it to end"
            ) from error
        except OSError:  # some network file systems
            self.release()

    def release(self) -> None:
        """Let others write; again and again is allowed."""
        if self._file is not None:
            _held.discard(self._file)
            os.close(self._file)
            self._file = None


def _let_go() -> None:
    # A forked worker shares the lock, and would keep it after this process was killed.
    for file in _held:
        os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
