"""A process that tries damaged files one after the other under limits of memory and time.

    python -m tests.hostile.worker FOLDER ROOM:START:COUNT [ROOM:START:COUNT …]

One line of JSON per input on stdout. Before each input its room and seed are written to
FOLDER/now, so that whoever finds the process dead knows of what.

    python -m tests.hostile.worker FOLDER ROOM:SEED:1

tries one input again, which is how a failure is reproduced; ``--keep`` leaves the damaged file in
FOLDER/mutant.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

CPU_S = 5.0
"""Processor seconds that one input may take."""

WALL_S = 600.0
"""Seconds after which an input hangs: on a busy machine it waits much longer than it computes."""

RESIDENT = 300
"""Megabytes that one input may add to what is in memory."""

MEMORY = 1 << 30
"""Bytes of address space beyond what the process has before the first input."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--cpu", type=float, default=CPU_S, help="seconds for one input")
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    shelf, work, empty = folder / "shelf", folder / "work", folder / "empty"
    for each in (shelf, work, empty, folder / "temporary"):
        each.mkdir(parents=True, exist_ok=True)
    os.environ["VQTOK_MODELS"] = str(shelf)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(work)
    os.environ["TMPDIR"] = str(folder / "temporary")
    os.chdir(empty)
    rooms = _rooms(chosen.tasks, shelf, work)
    tasks = [_task(rooms, text) for text in chosen.tasks]
    for name in (
        each for each in rooms if each != "trap"
    ):  # what is loaded on first use belongs to the baseline
        _try(rooms[name], name, -1, folder, keep=False)
    _limit()
    for name, start, count in tasks:
        for seed in range(start, start + count):
            outcome = _try(rooms[name], name, seed, folder, keep=chosen.keep, cpu_s=chosen.cpu)
            print(json.dumps(outcome), flush=True)


def _task(rooms, text: str) -> tuple[str, int, int]:
    from tests.hostile.room import CRAFTED

    name, start, count = text.split(":")
    first, number = int(start), int(count)
    if first >= CRAFTED:
        number = min(number, len(rooms[name].chosen(first)))
    return name, first, number


def _rooms(tasks: list[str], shelf: Path, work: Path):
    from tests.hostile.rooms import ROOMS, WITHOUT_MODELS

    names = list(dict.fromkeys(task.split(":")[0] for task in tasks))
    if not WITHOUT_MODELS.issuperset(names):
        import torch

        from tests.hostile.models import write_shelf

        torch.set_num_threads(1)
        write_shelf(shelf)
    rooms = {}
    for name in names:
        (work / name).mkdir(exist_ok=True)
        rooms[name] = ROOMS[name](shelf, work / name)
    return rooms


def _memory(key: str) -> int:
    """Bytes that /proc says of this process: VmSize, VmRSS, VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"no {key}")


def _limit() -> None:
    used = _memory("VmSize")
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    faulthandler.enable()
    # The handler in C prints where we are even if no Python code runs any more, then the
    # default action ends the process.
    faulthandler.register(signal.SIGPROF, chain=True)


def _try(room, name: str, seed: int, folder: Path, *, keep: bool, cpu_s: float = CPU_S
) -> dict[str, object]:  # fmt: skip

    from tests.hostile.room import Fault, check_message
    from vqtok.errors import VqtokError

    made = room.input(seed)
    if keep:
        (folder / "mutant").write_bytes(made.data)
    (folder / "now").write_text(json.dumps({"room": name, "seed": seed, "how": made.how}))
    noise = _Noise(folder / "noise")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _memory("VmRSS")
    begun = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    faulthandler.dump_traceback_later(WALL_S, exit=True)
    detail = ""
    try:
        with noise:
            result = room.probe(made.data)
    except VqtokError as error:
        result, detail = type(error).__name__, str(error)
        try:
            check_message(error)
        except Fault as fault:
            result, detail = "fault", _trace(fault)
    except Fault as fault:
        result, detail = "fault", _trace(fault)
    except Exception as error:
        result, detail = "escaped", _trace(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    if noise.text and result not in ("fault", "escaped"):
        # Libraries may talk, which the command line mutes; Python has nothing to say here.
        result, detail = ("escaped" if "Traceback" in noise.text else "noise"), noise.text
    seconds = time.process_time() - begun
    peak = (_memory("VmHWM") - before) >> 20
    if peak > RESIDENT and seed >= 0:
        result, detail = "memory", f"{peak} MB, {result}: {detail}"
    return {"room": name, "seed": seed, "how": made.how, "result": result, "detail": detail,
            "seconds": round(seconds, 3), "peak": peak}  # fmt: skip


class _Noise:
    """What is printed on the process's own stdout and stderr, by C libraries too."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, ""

    def __enter__(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.saved = [os.dup(number) for number in (1, 2)]
        with self.path.open("wb") as stream:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in zip((1, 2), self.saved, strict=True):
            os.dup2(saved, number)
            os.close(saved)
        self.text = self.path.read_text(errors="replace")[:2000]


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-3000:]


if __name__ == "__main__":
    main()
