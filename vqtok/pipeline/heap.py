"""Large blocks of memory go back to the system as soon as they are free.

glibc's allocator keeps what was freed and raises, by and by, the size from which blocks are given
back, up to 32 MB. The activations of tile after tile then lie scattered over a heap that grows: for
a large picture by 100 MB and more. A fixed limit costs time: fresh pages must be cleared.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_BYTES = 1 << 20


def give_back() -> None:
    """Set the limit for the rest of the process; elsewhere than on glibc nothing is done."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl
        return
    mallopt(_M_MMAP_THRESHOLD, _BYTES)
    mallopt(_M_TRIM_THRESHOLD, _BYTES)
    mallopt(_M_ARENA_MAX, 1)  # else each thread has a heap of its own
