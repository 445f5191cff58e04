"""Run a Python program in a process of its own, whatever the current directory is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import vqtok

LIMIT_S = 600.0
"""Longer than any program takes on a busy machine: one that is not over by then hangs."""

ROOT = Path(vqtok.__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """The current one, in which vqtok can be imported."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program and take what it prints."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment(), timeout=LIMIT_S
    )
