"""What reading other programs' checkpoints costs: load, encode and decode against their own code.

    python benchmarks/world.py
    python benchmarks/world.py encodec-24k mimi --seconds 20 --rounds 5 --json world.json

Full sizes, random weights, on disk as they are published; ``world_models.py`` tells what stands for
upstream. Both sides load that, encode the same signal with all codebooks and decode the codes, step
by step in turn, so that a busy moment hits both; who begins changes from round to round, and the
first round warms up and is not counted. "converted" loads the directory that ``vqtok convert``
makes. Seconds are medians, ratios medians of those of each round; exit status 1 if the ratio of
encoding, decoding or all three steps together is above the bar. Codes must be equal and signals
near, or the comparison means nothing.

Loading alone may lie above it: transformers maps a file and reads no number of it before it is
used, whereas here every number is read, refused if it is NaN, and hashed, as codes say by the
SHA-256 of a model which one made them. That takes 0.7 s per GB and is paid once.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
from torch import Tensor
from world_models import MODELS, Family

from vqtok.checkpoints import directory

BAR = 1.1
"""Times that upstream's own code may take."""

ROWS = (
    ("load", "vqtok"),
    ("load", "converted"),
    ("encode", "vqtok"),
    ("decode", "vqtok"),
    ("all", "vqtok"),
    ("all", "converted"),
)

NEAR = 1e-5
"""What decoded signals may differ by."""


def main() -> int:
    """Parse, measure each family, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(MODELS))
    parser.add_argument("--seconds", type=float, default=10.0, help="of audio")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args()
    unknown = sorted(set(args.families) - set(MODELS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(MODELS)}")
    results: dict[str, list[dict[str, float]]] = {}
    print(f"{'family':<12} {'step':<15} {'upstream s':>10} {'vqtok s':>8} {'ratio':>6}")
    good = True
    for name in args.families or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measure(MODELS[name](), Path(folder), args.seconds, args.rounds)
        good &= report(name, results[name])
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    print(f"bar {BAR}: {'met' if good else 'MISSED'}")
    return 0 if good else 1


def measure(family: Family, folder: Path, seconds: float, rounds: int) -> list[dict[str, float]]:
    """Wall seconds of each step of both, by "step/side", in each round."""
    torch.manual_seed(0)
    place = folder / "published"
    place.mkdir()
    place = family.write(place)
    directory.save(folder / "converted", directory.load(place))
    x = family.signal(seconds)
    found = [one_round(family, place, folder, x, count % 2 == 0) for count in range(rounds + 1)]
    return found[1:]


@torch.inference_mode()
def one_round(
    family: Family, place: Path, folder: Path, x: Tensor, ours_first: bool
) -> dict[str, float]:
    """Everything once, each step of one side right after that of the other."""
    times: dict[str, float] = {}

    def timed(step: str, **sides: Callable[[], Any]) -> list[Any]:
        results = {}
        for side in sorted(sides, reverse=ours_first):
            gc.collect()
            begun = time.perf_counter()
            results[side] = sides[side]()
            times[f"{step}/{side}"] = time.perf_counter() - begun
        return [results[side] for side in sides]

    theirs, ours, _ = timed(
        "load",
        upstream=lambda: family.load(place),
        vqtok=lambda: directory.load(place),
        converted=lambda: directory.load(folder / "converted"),
    )
    codes, found = timed(
        "encode", upstream=lambda: family.encode(theirs, x), vqtok=lambda: ours.encode(x)
    )
    if not torch.equal(found.levels[0], codes):
        raise SystemExit("codes differ: nothing to compare")
    wanted, shown = timed(
        "decode", upstream=lambda: family.decode(theirs, codes), vqtok=lambda: ours.decode(found)
    )
    wanted = wanted[..., : shown.shape[-1]].clamp(-1, 1)
    apart = float((shown.clamp(-1, 1) - wanted).abs().max())
    if apart > NEAR:
        raise SystemExit(f"signals differ by {apart:.1e}: nothing to compare")
    return times


def report(name: str, rounds: list[dict[str, float]]) -> bool:
    """Print one family; True if it is within the bar."""
    good = True
    for step, side in ROWS:
        theirs = [_seconds(times, step, "upstream") for times in rounds]
        ours = [_seconds(times, step, side) for times in rounds]
        ratio = statistics.median(b / a for a, b in zip(theirs, ours, strict=True))
        shown = step if side == "vqtok" else f"{step}, {side}"
        seconds = f"{statistics.median(theirs):10.3f} {statistics.median(ours):8.3f}"
        print(f"{name:<12} {shown:<15} {seconds} {ratio:6.2f}", flush=True)
        good &= ratio <= BAR or step == "load"
    return good


def _seconds(times: dict[str, float], step: str, side: str) -> float:
    """Of a step, or of all: a converted model differs in its loading alone."""
    if step != "all":
        return times[f"{step}/{side}"]
    coder = "upstream" if side == "upstream" else "vqtok"
    return times[f"load/{side}"] + times[f"encode/{coder}"] + times[f"decode/{coder}"]


if __name__ == "__main__":
    sys.exit(main())
