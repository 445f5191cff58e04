"""How much longer a photo takes to encode beside busy processes, and four at once.

    python benchmarks/neighbours.py
    python benchmarks/neighbours.py --rounds 9 --json neighbours.json

In each round ``vqtok encode`` of one 768x512 photo runs alone, beside one and two processes that
only count, four times in turn, and four times under ``xargs -P 4``, all on two cores. Ratios are
taken within a round; medians over rounds. The first round is not counted. Exit status 1 if a bar is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "tests" / "data" / "photo.png"
BARS = {"beside one": 1.3, "beside two": 2.2, "four at once": 0.75}
"""Most seconds by those alone; of four at once by those of four in turn."""
SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def main() -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="image-f8")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
    ratios: dict[str, list[float]] = {name: [] for name in BARS}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        with Image.open(PHOTO) as image:
            image.convert("RGB").resize((768, 512)).save(photo)
        for count in range(args.rounds + 1):
            found = one_round(photo, args.model)
            if count:
                for name, value in found.items():
                    ratios[name].append(value)
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    for name, bar in BARS.items():
        verdict = "met" if medians[name] <= bar else "MISSED"
        print(f"{name:<13} {medians[name]:.2f}  bar {bar}: {verdict}")
    if args.json is not None:
        data = {"ratios": ratios, "medians": medians}
        args.json.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
    return 0 if all(medians[name] <= bar for name, bar in BARS.items()) else 1


def one_round(photo: Path, model: str) -> dict[str, float]:
    """Ratios of one round, by name."""
    command = [sys.executable, "-m", "vqtok", "encode", str(photo), "-m", model, "-qfo"]
    targets = [str(photo.with_name(f"{i}.npy")) for i in range(4)]
    alone = seconds([[*command, targets[0]]])
    beside = [seconds([[*command, targets[0]]], busy=busy) for busy in (1, 2)]
    in_turn = seconds([[*command, target] for target in targets])
    together = seconds([["xargs", "-P", "4", "-n", "1", *command]], given="\n".join(targets))
    values = (beside[0] / alone, beside[1] / alone, together / in_turn)
    return dict(zip(BARS, values, strict=True))


def seconds(commands: list[list[str]], *, busy: int = 0, given: str = "") -> float:
    """Wall seconds of commands one after the other, beside so many busy processes."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    count = [sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(count) for _ in range(busy)]
    try:
        begun = time.perf_counter()
        for command in commands:
            environment = {**kept, "PYTHONPATH": path}
            subprocess.run(command, check=True, input=given, text=True, env=environment)
        return time.perf_counter() - begun
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


if __name__ == "__main__":
    sys.exit(main())
