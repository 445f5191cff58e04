"""Run a Python program in a process of its own, whatever the current directory is; full disks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import vqtok

LIMIT_S = 600.0
"""Longer than any program takes on a busy machine: one that is not over by then hangs."""

ROOT = Path(vqtok.__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """The current one, in which vqtok can be imported."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes.

    No compiled module is kept meanwhile: of a larger one Python would keep the beginning, for good.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = before


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program and take what it prints."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment(), timeout=LIMIT_S
    )
