"""A corpus job against a plain loop over the same files, on one machine in one run.

    python benchmarks/corpus.py --images DIR --audio DIR --json corpus.json

The loop is what a user would write: ``vqtok.load(NAME)``, and for each file read, ``encode``, and
write one codes file, with torch's own number of threads. The job is what ``vqtok encode --format
tar`` runs, reading, coding and writing shards. The files (the first 2000 images, the first hour of
audio) are cut into slices; each slice is done by both, in turns of changing order, so that a busy
moment hits both. Medians over slices; "busy" is the fraction of the job's time in which its model
threads compute. Exit status 1 if a ratio is under the bar or any code differs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import vqtok
from vqtok.backends.torch_backend import coder
from vqtok.checkpoints import directory
from vqtok.corpus.reader import CorpusReader
from vqtok.corpus.writer import CorpusWriter
from vqtok.media import audio, image
from vqtok.media.items import Item, items_of
from vqtok.pipeline.corpus import CorpusOptions, encode_corpus, job_of, local_engine, spec_of
from vqtok.pipeline.workers import Timing

BAR = 1.5
"""The job is this many times as fast as the loop, on two cores."""
MODELS = {"image": "image-f8", "audio": "audio-24k"}


class Slice(NamedTuple):
    """One slice, done by both."""

    amount: float  # images, or seconds of audio
    loop_s: float
    job_s: float
    busy: float


def main() -> int:
    """Parse, measure each kind, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of images")
    parser.add_argument("--audio", type=Path, help="folder of recordings")
    parser.add_argument("--count", type=int, default=2000, help="images to take")
    parser.add_argument("--hours", type=float, default=1.0, help="audio to take")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--readers", type=int, default=2, help="reading threads of the job")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args()
    if args.images is None and args.audio is None:
        parser.error("name --images DIR or --audio DIR or both")
    data: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "vqtok": vqtok.__version__,
    }
    good = True
    for kind, folder in (("image", args.images), ("audio", args.audio)):
        if folder is not None:
            items = items_of([str(folder)], (kind,))
            items = items[: args.count] if kind == "image" else first_hours(items, args.hours)
            slices = measure(kind, items, args.slices, args.readers)
            good &= report(kind, slices, data)
    if args.json is not None:
        args.json.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
    return 0 if good else 1


def first_hours(items: Sequence[Item], hours: float) -> list[Item]:
    """Items until their length comes to so much."""
    taken, seconds = [], 0.0
    for item in items:
        if seconds >= hours * 3600:
            break
        seconds += audio.probe(item.place).duration_s
        taken.append(item)
    return taken


def measure(kind: str, items: Sequence[Item], count: int, readers: int) -> list[Slice]:
    """Both ways over every slice; the first files warm both up."""
    tokenizer = vqtok.load(MODELS[kind])
    each = -(-len(items) // count)
    slices = []
    with tempfile.TemporaryDirectory() as folder:
        loop(kind, tokenizer, items[:4], Path(folder) / "warm-loop")
        job(kind, tokenizer, items[:4], Path(folder) / "warm-job", readers)
        for number, start in enumerate(range(0, len(items), each)):
            some = items[start : start + each]
            ours, plain = Path(folder) / f"job-{number}", Path(folder) / f"loop-{number}"
            if number % 2:
                job_s, busy = job(kind, tokenizer, some, ours, readers)
                loop_s = loop(kind, tokenizer, some, plain)
            else:
                loop_s = loop(kind, tokenizer, some, plain)
                job_s, busy = job(kind, tokenizer, some, ours, readers)
            slices.append(Slice(check(kind, some, plain, ours), loop_s, job_s, busy))
            print(f"  {kind} {number + 1}: loop {loop_s:.1f} s, job {job_s:.1f} s", flush=True)
    return slices


def loop(kind: str, tokenizer: Any, items: Sequence[Item], folder: Path) -> float:
    """Seconds of the plain loop."""
    folder.mkdir()
    begun = time.perf_counter()
    for number, item in enumerate(items):
        if kind == "image":
            pixels, _ = image.read(item.place)
            codes = tokenizer.encode(torch.from_numpy(pixels)[None])
        else:
            samples, _ = audio.read(item.place, rate=int(tokenizer.spec.rate))
            codes = tokenizer.encode(torch.from_numpy(samples)[:, None])
        np.save(folder / f"{number}.npy", codes.numpy().levels[0])
    return time.perf_counter() - begun


def job(
    kind: str, tokenizer: Any, items: Sequence[Item], folder: Path, readers: int
) -> tuple[float, float]:
    """Seconds of the corpus job, and how busy its model was."""
    info, options, timing = directory.describe(MODELS[kind]), CorpusOptions(), Timing()
    begun = time.perf_counter()
    with CorpusWriter(
        folder,
        format="tar",
        names=[item.name for item in items],
        spec=spec_of(info, options),
        job=job_of(info, options),
    ) as writer:
        engine = local_engine(coder(tokenizer), options, readers=readers, timing=timing)
        for _ in encode_corpus(items, writer, engine, folder=folder):
            pass
        writer.finish()
    return time.perf_counter() - begun, timing.busy


def check(kind: str, items: Sequence[Item], loop: Path, job: Path) -> float:
    """How much was encoded; exits if the two ways disagree in a single code."""
    amount = 0.0
    reader = CorpusReader(job)
    if len(reader) != len(items):
        sys.exit(f"{len(items) - len(reader)} files failed")
    for entry in reader:
        if not np.array_equal(entry.codes.levels[0], np.load(loop / f"{entry.number}.npy")):
            sys.exit(f"{entry.name}: codes differ")
        codes = entry.codes
        amount += 1 if kind == "image" else codes.extent[0] / (codes.spec.rate or 1.0)
    return amount


def report(kind: str, slices: Sequence[Slice], data: dict[str, Any]) -> bool:
    """Print one kind's table; whether the bar is reached."""
    unit = "images/s" if kind == "image" else "seconds/s"
    loop_rate = statistics.median(each.amount / each.loop_s for each in slices)
    job_rate = statistics.median(each.amount / each.job_s for each in slices)
    ratio = statistics.median(each.loop_s / each.job_s for each in slices)
    busy = statistics.median(each.busy for each in slices)
    total = sum(each.amount for each in slices)
    what = f"{total:.0f} images" if kind == "image" else f"{total / 3600:.2f} hours of audio"
    print(f"{what}, {MODELS[kind]}, all codes equal: {data['machine']}")
    print(f"  loop  {loop_rate:8.1f} {unit}")
    print(f"  job   {job_rate:8.1f} {unit}, model busy {busy:.0%}")
    print(f"  ratio {ratio:8.2f} (bar {BAR})", flush=True)
    data[kind] = {
        "busy": busy,
        "job_per_s": job_rate,
        "loop_per_s": loop_rate,
        "ratio": ratio,
        "slices": [each._asdict() for each in slices],
    }
    return ratio >= BAR


if __name__ == "__main__":
    sys.exit(main())
