"""Send damaged files through a worker process, and start another one where the last one died."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.programs import ROOT, environment

USED = ("read", "decoded", "loaded", "resumed")
BAD = ("escaped", "fault", "memory", "died")


@dataclass
class Report:
    """What became of the inputs.

    Attributes:
        counts: (room, result) → how many.
        faults: One text per broken promise, with what reproduces it.
        slowest: (seconds, what) of the input that took the longest.
        largest: (megabytes, what) of the input that took the most memory.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")

    def of(self, room: str) -> dict[str, int]:
        """Result → how many, of one room."""
        return {result: count for (name, result), count in self.counts.items() if name == room}

    def faults_of(self, room: str) -> str:
        """All faults of one room as one text; empty if there are none."""
        return "\n\n".join(text for text in self.faults if text.startswith(f"{room}:"))


def run(
    folder: Path,
    tasks: Iterable[tuple[str, int, int]],
    *,
    patience: int = 20,
    cpu_s: float = 5.0,
) -> Report:
    """Try inputs by their seeds.

    Args:
        folder: Where the worker may write.
        tasks: (room, first seed, count).
        cpu_s: Processor seconds for one input.
        patience: Deaths after which the rest is not tried any more.

    Returns:
        The report; files outside of the worker's own folders are faults of it too.
    """
    report, left = Report(), list(tasks)
    folder.mkdir(parents=True, exist_ok=True)
    for place in ("empty", "temporary"):
        shutil.rmtree(folder / place, ignore_errors=True)
    while left and patience > 0:
        done, died = _once(folder, left, report, cpu_s)
        left = _rest(left, done + died)
        if not died:
            break
        patience -= died
    for place in ("empty", "temporary"):
        stray = sorted(str(path) for path in (folder / place).rglob("*"))
        if stray:
            report.faults.append(f"all: written outside of the output: {stray}")
    return report


def _once(
    folder: Path, tasks: list[tuple[str, int, int]], report: Report, cpu_s: float
) -> tuple[int, int]:
    """One worker until its end; gives (inputs finished, 1 if it died of one)."""
    (folder / "now").unlink(missing_ok=True)
    words = [f"{room}:{start}:{count}" for room, start, count in tasks]
    command = [sys.executable, "-m", "tests.hostile.worker", str(folder), *words, f"--cpu={cpu_s}"]
    limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    done = 0
    with (
        (folder / "errors").open("wb") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env={**environment(), **limits},
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            _note(report, json.loads(line))
            done += 1
        code = process.wait()
    if code == 0:
        return done, 0
    now = json.loads((folder / "now").read_text()) if (folder / "now").exists() else None
    said = (folder / "errors").read_text(errors="replace")[-3000:]
    if now is None or now["seed"] < 0:
        raise RuntimeError(f"the worker did not start: {code}\n{said}")
    said += (folder / "noise").read_text(errors="replace")[-3000:]
    reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    _note(report, {**now, "result": "died", "detail": f"{reason}\n{said}", "seconds": 0.0})
    return done, 1


def _note(report: Report, outcome: dict[str, Any]) -> None:
    room, seed, result = outcome["room"], outcome["seed"], outcome["result"]
    report.counts[room, result] += 1
    what = f"{room}:{seed}: {outcome['how']}"
    report.slowest = max(report.slowest, (outcome["seconds"], what))
    report.largest = max(report.largest, (outcome.get("peak", 0), what))
    if result in BAD:
        again = f"python -m tests.hostile.worker FOLDER {room}:{seed}:1 --keep"
        report.faults.append(f"{what}\n{result}: {outcome['detail']}\nagain: {again}")


def _rest(tasks: list[tuple[str, int, int]], done: int) -> list[tuple[str, int, int]]:
    """The tasks without their first ``done`` inputs."""
    left = []
    for room, start, count in tasks:
        skipped = min(done, count)
        done -= skipped
        if count > skipped:
            left.append((room, start + skipped, count - skipped))
    return left
