"""CPU threads: how many this process may use, and how they wait for each other.

OpenMP's threads wait for the next piece of work by spinning. Beside other busy processes that takes
the core from the very thread they wait for: coding one photo on two cores beside two busy processes
took 10 s instead of 3.5. The policy is read once, when the OpenMP library is loaded with torch
(libgomp in the wheels for Linux, libomp or libiomp5 elsewhere; all of them know OMP_WAIT_POLICY),
so it is set in the environment before that.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path, PurePosixPath

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables that say how OpenMP's threads wait."""

COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many there are."""

LITTLE = 1 << 15
"""Pixels or samples that keep one thread busy: waking another for less takes longer than it saves.
"""

MOST = 1024
"""Threads that may be asked for; OpenMP ends the process, or crashes, for want of many more."""

Read = Callable[[str], str | None]
"""Path → the file's text; None if there is no such file."""


def configure(environ: MutableMapping[str, str] | None = None) -> None:
    """Let threads of a torch that is loaded later wait asleep, no more of them than CPUs granted.

    What the user has set stays. Does nothing once torch is loaded.

    Args:
        environ: Changed in place; None: the environment of the process.
    """
    if "torch" in sys.modules:
        return
    found = os.environ if environ is None else environ
    if not any(name in found for name in WAITING):
        found["OMP_WAIT_POLICY"] = "PASSIVE"
    granted = available()
    # Without a quota torch counts the CPUs itself, and leaves out those that share a core.
    if granted < affinity() and not any(name in found for name in COUNTS):
        found["OMP_NUM_THREADS"] = str(granted)


def configure_products(environ: MutableMapping[str, str] | None = None) -> None:
    """Let a numpy that is loaded later multiply on one thread: those of OpenBLAS spin.

    Where it pays, several threads multiply blocks of rows. On ARM torch may bring the same library,
    so nothing is set there. What the user has set stays.

    Args:
        environ: Changed in place; None: the environment of the process.
    """
    found = os.environ if environ is None else environ
    if platform.machine() in ("x86_64", "AMD64"):
        found.setdefault("OPENBLAS_NUM_THREADS", "1")


def available() -> int:
    """CPUs that this process may use, by its affinity and by the quotas of its control groups."""
    limit = quota(_text)
    return affinity() if limit is None else max(1, min(affinity(), math.ceil(limit)))


def chosen() -> int:
    """Count the threads that a model may use: what the user has set for OpenMP, else all CPUs."""
    given = next((os.environ[name] for name in COUNTS if name in os.environ), "")
    return int(given) if given.isdecimal() and int(given) else available()


def affinity() -> int:
    """CPUs that this process may be scheduled on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(read: Read) -> float | None:
    """CPUs granted by the control groups of this process, in CPU seconds per second.

    Groups are nested, and the least of their quotas counts. In a container a group's path may be
    that on the host, of which only the last parents are mounted.

    Args:
        read: Gives files of ``/proc`` and ``/sys``.

    Returns:
        The least quota of cgroup v1 and v2; None without any.
    """
    quotas = []
    for line in (read("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for folder in (PurePosixPath(group), *PurePosixPath(group).parents):
            quotas.append(_unified(read, folder) if not controllers else _legacy(read, folder))
    return min((each for each in quotas if each is not None), default=None)


def useful(values: int, most: int) -> int:
    """Threads that a signal of so many pixels or samples keeps busy, from 1 to ``most``."""
    return max(1, min(most, values // LITTLE))


def _unified(read: Read, group: PurePosixPath) -> float | None:
    """Quota of one group of cgroup v2: "200000 100000", or "max 100000" for none."""
    words = (read(f"/sys/fs/cgroup{_inside(group)}/cpu.max") or "").split()
    return _ratio(*words) if len(words) == 2 else None


def _legacy(read: Read, group: PurePosixPath) -> float | None:
    """Quota of one group of cgroup v1: microseconds in one file, -1 for none, the period in one."""
    for mount in ("cpu", "cpu,cpuacct"):
        folder = f"/sys/fs/cgroup/{mount}{_inside(group)}"
        limit, period = (read(f"{folder}/cpu.cfs_{each}_us") for each in ("quota", "period"))
        if limit is not None and period is not None:
            return _ratio(limit, period)
    return None


def _inside(group: PurePosixPath) -> str:
    return "" if group == PurePosixPath("/") else str(group)


def _ratio(limit: str, period: str) -> float | None:
    try:
        found = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return found if found > 0 else None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
