"""How long a command takes before it does anything: help against typer, encode against torch.

    python benchmarks/startup.py
    python benchmarks/startup.py --rounds 21 --json startup.json

Four commands are run in turn, round by round, so that a busy moment hits them all: ``vqtok --help``
and ``python -c 'import typer'``; ``vqtok encode`` of one 768x512 photo and ``python -c 'import
torch'``, all on one core. The first round warms the disk cache and is not counted. Medians, their
ratio and difference; exit status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "tests" / "data" / "photo.png"
SIZE = (768, 512)
HELP_RATIO = 2.5
"""``vqtok --help`` may take this many times as long as ``import typer``."""
ENCODE_SECONDS = 1.5
"""``vqtok encode`` may take this much longer than ``import torch``."""


def main() -> int:
    """Parse, run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--model", default="image-f8")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo, codes = Path(folder) / "photo.png", Path(folder) / "codes.npy"
        with Image.open(PHOTO) as image:
            image.convert("RGB").resize(SIZE).save(photo)
        vqtok = [sys.executable, "-m", "vqtok"]
        commands = {
            "help": [*vqtok, "--help"],
            "typer": [sys.executable, "-c", "import typer"],
            "encode": [*vqtok, "encode", str(photo), "-m", args.model, "-qfo", str(codes)],
            "torch": [sys.executable, "-c", "import torch"],
        }
        seconds = measure(commands, args.rounds)
    return report(seconds, args.json)


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each command, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for count in range(rounds + 1):
        for name, command in commands.items():
            begun = time.perf_counter()
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, env=environment(), preexec_fn=pin
            )
            if count:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def environment() -> dict[str, str]:
    """One thread, and vqtok importable from the checkout."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def pin() -> None:
    """Keep the child on one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def report(seconds: dict[str, list[float]], target: Path | None) -> int:
    """Print medians and verdicts; 1 if a bar is missed."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = median["help"] / median["typer"]
    extra = median["encode"] - median["torch"]
    print("command               median s   fastest s   slowest s")
    for name, values in seconds.items():
        print(f"{name:<20} {median[name]:9.3f} {min(values):11.3f} {max(values):11.3f}")
    help_good, encode_good = ratio <= HELP_RATIO, extra <= ENCODE_SECONDS
    print(f"help / typer   {ratio:.2f}    bar {HELP_RATIO}: {'met' if help_good else 'MISSED'}")
    print(f"encode - torch {extra:.2f} s  bar {ENCODE_SECONDS} s: ", end="")
    print("met" if encode_good else "MISSED")
    if target is not None:
        data = {
            "machine": f"{platform.machine()}, one core",
            "python": platform.python_version(),
            "seconds": seconds,
            "median": median,
            "help_over_typer": ratio,
            "encode_minus_torch_s": extra,
        }
        target.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
    return 0 if help_good and encode_good else 1


if __name__ == "__main__":
    sys.exit(main())
