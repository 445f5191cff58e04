"""What happens to large blocks of memory when they are free: settings of glibc's allocator.

By itself it keeps what was freed and raises, by and by, the size from which blocks are given back,
up to 32 MB. Coding tile after tile wants them back at once, or the activations lie scattered over a
heap that grows: for a large picture by 100 MB and more. Training wants them kept: every step needs
the same blocks as the one before, and fresh pages must be cleared first, a tenth of a step's time.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_BYTES = 1 << 20
_MOST = (1 << 31) - 1


def give_back() -> None:
    """Return large blocks to the system as soon as they are free, for the rest of the process.

    The limit is fixed, which costs time. Elsewhere than on glibc nothing is done.
    """
    _set({_M_MMAP_THRESHOLD: _BYTES, _M_TRIM_THRESHOLD: _BYTES, _M_ARENA_MAX: 1})


def keep() -> None:
    """Keep up to 2 GB of freed memory for what comes next, for the rest of the process.

    Elsewhere than on glibc nothing is done.
    """
    _set({_M_MMAP_THRESHOLD: _MOST // 2, _M_TRIM_THRESHOLD: _MOST})


def _set(options: dict[int, int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl
        return
    for option, value in options.items():
        mallopt(option, value)
