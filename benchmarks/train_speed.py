"""Steps per second of ``vqtok train`` against a plain loop around vector-quantize-pytorch.

    python benchmarks/train_speed.py --data photos/ --test held-out/ --threads 2
    python benchmarks/train_speed.py --data photos/ --test held-out/ --preset vqvae-2017

The network is that of ``image-f8``, which ``vqtok train`` takes unless told otherwise: ConvNeXt
blocks, 8x8 pixels per code, 8192 codes; or of another image preset with ``quantizers/vq``, such as
``vqvae-2017``: convolutions, 4x4 pixels per code, 512 codes. The plain loop (``plain_loop.py``) has
the same initial weights, losses and learning rates, float32, ``torch.optim.AdamW`` and all images
in memory as uint8. Ours is the whole of ``training.train``: files, cache and augmentation,
optimizer, journal, progress and the watch over the codebook. Rows: ours in float32; ours as it
comes (bfloat16 where the CPU multiplies it natively); and bounds, encoder and decoder alone in
float32 and bfloat16, with neither codebook nor optimizer, which no loop around this network can
beat.

Each row is a process of its own, bound to ``--threads`` cores, threads that load data included. The
rows take turns of ``--turn`` steps, in changing order, one at a time; what precedes the k-means
start of the codebooks is not timed. A ratio is plain seconds over ours of one round; the table has
medians. The ratio by processor time is for machines that are busy with other things. All rows
train for ``--steps`` steps, and are then measured on the held-out images: NMSE, as in
``scoring.py``. Exit status 1 if a ratio is below its bar, or our NMSE is above the plain loop's by
more than twice the deviation over seeds.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROWS = {"plain": 0.0, "float32": 1.4, "defaults": 2.3, "bound32": 0.0, "bound16": 0.0}
"""Name → how many times as fast as the plain loop it is meant to be."""
UNTIMED = 120
"""Steps before the first timed one: vqtok's codebook starts after 100."""
SHOWN = 10
"""Steps between two events of ``training.train``: turns are a multiple of it."""


def main() -> int:
    """Parse, race, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="images to train on")
    parser.add_argument("--test", type=Path, help="images to measure on")
    parser.add_argument("--preset", default="image-f8", help="of an image model with vq")
    parser.add_argument("--window", type=int, default=64, help="side of the crops")
    parser.add_argument("--steps", type=int, default=1000, help="of each row and seed")
    parser.add_argument("--turn", type=int, default=20, help="steps of a row at a time")
    parser.add_argument("--limit", type=int, default=1000, help="training files, at most")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every measurement here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        serve(json.loads(chosen.worker))
        return 0
    if chosen.data is None or chosen.test is None:
        parser.error("name --data and --test")
    if chosen.turn % SHOWN or (chosen.steps - UNTIMED) % chosen.turn:
        parser.error(f"--turn must be a multiple of {SHOWN}, and divide --steps less {UNTIMED}")
    races = [race(seed, chosen) for seed in chosen.seeds]
    table = [summary(name, races) for name in chosen.rows]
    show(table)
    if chosen.json is not None:
        keys = ("preset", "window", "steps", "turn", "limit", "threads")
        facts = {key: getattr(chosen, key) for key in keys}
        facts |= {"machine": platform.machine(), "races": races, "rows": table}
        chosen.json.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return verdict(table)


def race(seed: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Train all rows side by side; name → seconds of each turn, processor seconds, NMSE."""
    found: dict[str, Any] = {name: {"s": [], "cpu_s": []} for name in chosen.rows}
    with tempfile.TemporaryDirectory() as folder:
        workers = {name: launch(name, seed, chosen, Path(folder) / name) for name in chosen.rows}
        try:
            for worker in workers.values():
                ask(worker, UNTIMED)
            for turn in range((chosen.steps - UNTIMED) // chosen.turn):
                order = chosen.rows[turn % len(chosen.rows) :] + chosen.rows[: turn % len(workers)]
                for name in order:
                    spent = ask(workers[name], chosen.turn)
                    found[name]["s"].append(spent["s"])
                    found[name]["cpu_s"].append(spent["cpu_s"])
                if turn % 5 == 4:
                    print(f"seed {seed}, round {turn + 1}: {ratios(found)}", flush=True)
            for name, worker in workers.items():
                found[name] |= ask(worker, 0)
        finally:
            for worker in workers.values():
                worker.kill()
                worker.wait()
    return {"seed": seed, "rows": found}


def ratios(found: dict[str, Any]) -> str:
    """Of the medians so far, by time and by processor time."""
    parts = []
    for name in found:
        if name != "plain" and "plain" in found:
            time_, cpu = (ratio(found, name, key) for key in ("s", "cpu_s"))
            parts.append(f"{name} {time_:.2f}x ({cpu:.2f}x by processor time)")
    return ", ".join(parts)


def ratio(found: dict[str, Any], name: str, key: str) -> float:
    """Median over turns of the plain loop's time over a row's."""
    pairs = zip(found["plain"][key], found[name][key], strict=True)
    return statistics.median(plain / ours for plain, ours in pairs)


def launch(name: str, seed: int, chosen: argparse.Namespace, output: Path) -> Any:
    """Start a row's process."""
    task = {key: getattr(chosen, key) for key in ("preset", "window", "steps", "limit", "threads")}
    task |= {"row": name, "seed": seed, "output": str(output)}
    task |= {"data": str(chosen.data), "test": str(chosen.test)}
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(chosen.threads))
    command = [sys.executable, "-W", "ignore", __file__, "--worker", json.dumps(task)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)


def ask(worker: Any, steps: int) -> dict[str, Any]:
    """Let a process take some steps, or with 0 measure its model; its answer."""
    worker.stdin.write(f"{steps}\n")
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith("{"):
            answer: dict[str, Any] = json.loads(line)
            return answer
    raise SystemExit(f"a process ended with {worker.wait()}")


def serve(task: dict[str, Any]) -> None:
    """A row's process: take as many steps as each line of stdin says, and tell the time."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["threads"]])
    import torch

    torch.set_num_threads(task["threads"])
    rows = {"plain": plain, "bound32": network, "bound16": network}
    step, measure = rows.get(task["row"], ours)(task)
    for line in sys.stdin:
        count = int(line)
        if not count:
            print(json.dumps(measure()), flush=True)
            return
        begun, cpu = time.perf_counter(), time.process_time()
        step(count)
        spent = {"s": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}
        print(json.dumps(spent), flush=True)


Row = tuple[Callable[[int], None], Callable[[], dict[str, Any]]]
"""Take so many steps; measure."""


def plan_of(task: dict[str, Any]) -> tuple[list[str], Any]:
    """Changes of the preset, and the recipe."""
    from vqtok.training import recipe

    edits = [f"train.{key}={task[key]}" for key in ("window", "steps", "seed")]
    edits += [f"train.evaluate_every={10 * task['steps']}"]
    edits += ["train.optimizer=adamw"]  # as the loop beside it: the same steps on both sides
    if task["row"] == "float32":
        edits += ["train.precision=float32"]
    return edits, recipe.load(task["preset"], edits=edits)


def plain(task: dict[str, Any]) -> Row:
    """The plain loop."""
    import numpy as np
    from plain_loop import Images, Plain, measure
    from scoring import centres, images_of

    _, plan = plan_of(task)
    files = images_of(Path(task["data"]))[: task["limit"]]
    images = Images(files, window=task["window"], batch=plan.train.batch, flip=plan.train.flip)
    model = Plain(plan, threshold=0.1)
    generator = np.random.default_rng(task["seed"])

    def step(count: int) -> None:
        for _ in range(count):
            model.step(images.draw(generator))

    def measured() -> dict[str, Any]:
        pixels = centres(images_of(Path(task["test"])), task["window"])
        return measure(model, pixels, spread=spread(task))._asdict()

    return step, measured


def ours(task: dict[str, Any]) -> Row:
    """The loop of ``vqtok train``."""
    from scoring import centres, images_of, reconstruct, scores

    from vqtok.training import log
    from vqtok.training.train import train

    files = [str(path) for path in images_of(Path(task["data"]))[: task["limit"]]]
    edits, _ = plan_of(task)
    output = Path(task["output"])
    events = train(files, output, preset=task["preset"], edits=edits, device="cpu")
    next(events)

    def step(count: int) -> None:
        for _ in range(count // SHOWN):
            seen: Iterator[Any] = (each for each in events if isinstance(each, log.Progress))
            next(seen)

    def measured() -> dict[str, Any]:
        for _ in events:  # the last measurement and the save
            pass
        pixels = centres(images_of(Path(task["test"])), task["window"])
        made = reconstruct(output, pixels)
        size = made.model.quantizer.codebook_size
        found = scores(made.decoded, pixels, made.codes, size=size, spread=spread(task))
        return found._asdict()

    return step, measured


def network(task: dict[str, Any]) -> Row:
    """Encoder and decoder alone, forward and back: no loop around them can be faster."""
    import torch
    import torch.nn.functional as F

    from vqtok import allocator

    allocator.keep()
    _, plan = plan_of(task)
    model: Any = plan.model.build().train()
    x = torch.rand(plan.train.batch, 3, task["window"], task["window"]) * 2 - 1
    x = x.to(memory_format=torch.channels_last)

    def step(count: int) -> None:
        for _ in range(count):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=task["row"] == "bound16"):
                y = model.decoder(model.encoder(x))
            F.mse_loss(y.float(), x).backward()
            model.zero_grad(set_to_none=True)

    return step, lambda: {"nmse": None, "perplexity": None}


def spread(task: dict[str, Any]) -> float:
    """Variance of the middles of the training images."""
    from scoring import centres, images_of, variance

    return variance(centres(images_of(Path(task["data"]))[: task["limit"]], task["window"]))


def summary(name: str, races: list[dict[str, Any]]) -> dict[str, Any]:
    """A line of the table."""
    rows = [each["rows"] for each in races]
    turns = [second for row in rows for second in row[name]["s"]]
    losses = [row[name]["nmse"] or 0.0 for row in rows]
    line: dict[str, Any] = {"row": name, "s_per_turn": statistics.median(turns)}
    line |= {"nmse": statistics.fmean(losses), "bar": ROWS[name]}
    line["nmse_sd"] = statistics.stdev(losses) if len(losses) > 1 else None
    line["perplexity"] = statistics.fmean(row[name]["perplexity"] or 0.0 for row in rows)
    for key in ("s", "cpu_s"):
        found = [ratio(row, name, key) for row in rows] if "plain" in rows[0] else []
        line["ratio" if key == "s" else "cpu_ratio"] = statistics.median(found) if found else None
    return line


def show(table: list[dict[str, Any]]) -> None:
    """Print the table."""
    print(f"\n{'':10}{'ratio':>8}{'by CPU':>8}{'bar':>8}{'NMSE':>9}{'sd':>8}{'perplexity':>12}")
    for line in table:
        cells = [line["ratio"], line["cpu_ratio"], line["bar"], line["nmse"], line["nmse_sd"]]
        texts = [f"{value:.4f}"[:6] if value else "-" for value in cells]
        widths = (8, 8, 8, 9, 8)
        row = "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
        print(f"{line['row']:10}{row}{line['perplexity']:12.1f}")


def verdict(table: list[dict[str, Any]]) -> int:
    """Print which bars are missed; 1 if any is."""
    missed = []
    peer = next((line for line in table if line["row"] == "plain"), None)
    for line in table:
        if peer is None or not line["bar"]:
            continue
        if line["ratio"] < line["bar"]:
            missed.append(f"{line['row']}: {line['ratio']:.2f}x the plain loop, bar {line['bar']}x")
        noise = 2 * max(peer["nmse_sd"] or 0.0, line["nmse_sd"] or 0.0)
        if line["nmse"] > peer["nmse"] + noise:
            missed.append(f"{line['row']}: NMSE {line['nmse']:.4f}, plain {peer['nmse']:.4f}")
    print("\nbars missed:" if missed else "\nall bars met", *missed, sep="\n  ")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
