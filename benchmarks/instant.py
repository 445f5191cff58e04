"""Whole commands without torch against `python -c 'import torch'`, and against the torch backend.

    python benchmarks/instant.py --photo photo.png --speech speech.wav -o instant.json

Each round runs every case once, one after the other, so that what else the machine does falls on
all alike; a figure is the median of the rounds. Commands are given as shares of the time that
importing torch takes in the same rounds, on one thread and on two, all modules compiled before, as
pip leaves them when it installs a package; networks and corpora as how many
times faster they are than with ``--backend torch``. Bars are printed beside; exit status 1 if one
is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

VQTOK = f"{sys.executable} -m vqtok"

BARS = {
    "encode 768x512": 0.6,
    "encode 256x256": 0.4,
    "decode 768x512": 0.75,
    "decode 256x256": 0.45,
    "pipe 256x256": 0.8,
    "encode 10 s": 0.6,
    "decode 10 s": 0.7,
}
"""Largest share of the time that importing torch takes."""

FASTER = {"network": 1.5, "corpus of pictures": 1.5, "corpus of sound": 1.3}
"""How many times faster than torch, at least."""


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photo", type=Path, required=True, help="at least 768x512")
    parser.add_argument("--speech", type=Path, required=True, help="at least 10 s")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pictures", type=int, default=200, help="in the corpus")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        desk = Path(folder)
        prepare(desk, given.photo, given.speech)
        for threads in (1, 2):
            rows += commands(desk, threads, given.rounds)
        rows += networks(desk, given.rounds)
        rows += corpora(desk, given.pictures, max(3, given.rounds // 2))
        rows += memory(desk)
    for row in rows:
        bar = "" if row["bar"] is None else f"  bar {row['bar']:g}"
        print(f"{row['case']:32} threads {row['threads']}  {row['value']:8.3f} {row['unit']}{bar}")
    if given.output is not None:
        given.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return int(any(missed(row) for row in rows))


def missed(row: dict[str, Any]) -> bool:
    """Tell whether a row misses its bar."""
    if row["bar"] is None:
        return False
    less = row["unit"] != "times as fast"
    return bool(row["value"] > row["bar"] if less else row["value"] < row["bar"])


def prepare(desk: Path, photo: Path, speech: Path) -> None:
    """Make the inputs: two photos, 10 s and 10 minutes of speech."""
    with Image.open(photo) as image:
        for width, height in ((768, 512), (256, 256)):
            image.convert("RGB").resize((width, height)).save(desk / f"{width}x{height}.png")
    samples, rate = soundfile.read(speech, always_2d=True)
    mono = samples.mean(axis=1)
    for name, seconds in (("10 s", 10), ("600 s", 600)):
        soundfile.write(desk / f"{name}.wav", np.resize(mono, seconds * rate), rate)


def run(command: str, desk: Path, threads: int) -> float:
    """Run a shell command; its seconds."""
    environ = os.environ | {"OMP_NUM_THREADS": str(threads), **compiled(desk)}
    begun = time.perf_counter()
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=desk,
        env=environ,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - begun


def compiled(desk: Path) -> dict[str, str]:
    """Let Python keep what it compiles, whatever the checkout and the environment say."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(desk / "compiled")}


def medians(cases: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Run every case once a round; the median of each."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(case())
    return {name: statistics.median(values) for name, values in found.items()}


def commands(desk: Path, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Measure whole commands as shares of importing torch."""
    lines = {"import torch": f"{sys.executable} -c 'import torch'"}
    for size in ("768x512", "256x256"):
        lines[f"encode {size}"] = f"{VQTOK} encode {size}.png -o {size}.npy -fq"
        lines[f"decode {size}"] = f"{VQTOK} decode {size}.npy -o back-{size}.png -fq"
    lines["pipe 256x256"] = f"cat 256x256.png | {VQTOK} encode - | {VQTOK} decode - > back.png"
    lines["encode 10 s"] = f"{VQTOK} encode '10 s.wav' -o speech.npy -fq"
    lines["decode 10 s"] = f"{VQTOK} decode speech.npy -o back.wav -fq"
    lines["--help"] = f"{VQTOK} --help"

    def case(line: str) -> Callable[[], float]:
        return lambda: run(line, desk, threads)

    cases = {name: case(line) for name, line in lines.items()}
    medians(cases, 1)  # modules are compiled, files read
    times = medians(cases, rounds)
    base = times.pop("import torch")
    return [
        {"case": name, "threads": threads, "value": value / base, "bar": BARS.get(name)}
        | {"unit": "of import torch", "seconds": value, "import_torch_s": base}
        for name, value in times.items()
    ]


def networks(desk: Path, rounds: int) -> list[dict[str, Any]]:
    """Measure encoders and decoders alone, on one thread, against those of torch."""
    import torch

    from vqtok.backends import onnx_backend
    from vqtok.checkpoints import directory

    torch.set_num_threads(1)
    rows = []
    for name in ("image-f8", "audio-24k"):
        info = directory.describe(name)
        model: Any = directory.load(info)
        ours: Any = onnx_backend.coder(info.path, info.spec, name=name, count=1)
        shape = (1, 3, 256, 256) if name == "image-f8" else (1, model.front_end.channels, 1, 750)
        x = torch.rand(shape) * 2 - 1
        with torch.inference_mode():
            z = model.encoder(x)
        encoder = ours._levels._features if name == "image-f8" else ours._encoder
        pairs = {
            "encoder": (model.encoder, x, encoder, "x"),
            "decoder": (model.decoder, z, ours._decoder, "q0"),
        }
        for part, (theirs, given, network, entry) in pairs.items():
            cases = {
                "torch": lambda theirs=theirs, given=given: timed(lambda: theirs(given)),
                "onnx": lambda network=network, given=given, entry=entry: timed(
                    lambda: network({entry: given.numpy()}, threads=1)
                ),
            }
            with torch.inference_mode():
                medians(cases, 1)
                times = medians(cases, rounds)
            rows.append(
                {"case": f"{name}, {part} alone", "threads": 1, "bar": FASTER["network"]}
                | {"value": times["torch"] / times["onnx"], "unit": "times as fast"}
            )
    return rows


def timed(work: Callable[[], object]) -> float:
    """Time one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def corpora(desk: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    """Measure whole corpus commands against those with torch."""
    photos = desk / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    with Image.open(desk / "768x512.png") as image:
        for number in range(count):
            left, top = random.integers(0, 512), random.integers(0, 256)
            image.crop((left, top, left + 256, top + 256)).save(photos / f"{number:04}.png")
    rows = []
    for name, source in (("corpus of pictures", "photos/"), ("corpus of sound", "'600 s.wav'")):

        def case(backend: str, source: str = source) -> Callable[[], float]:
            line = f"{VQTOK} encode {source} --format tar -o made/ -fq --backend {backend}"
            return lambda: run(line, desk, 2)

        times = medians({each: case(each) for each in ("torch", "onnx")}, rounds)
        shutil.rmtree(desk / "made")
        rows.append(
            {"case": name, "threads": 2, "bar": FASTER[name]}
            | {"value": times["torch"] / times["onnx"], "unit": "times as fast"}
        )
    return rows


def memory(desk: Path) -> list[dict[str, Any]]:
    """Measure the peak memory of encoding a photo, as a share of what it is with torch."""
    program = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, capture_output=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    peaks = {}
    for backend in ("torch", "onnx"):
        line = [*VQTOK.split(), "encode", "768x512.png", "-o", "m.npy", "-fq", "--backend", backend]
        done = subprocess.run(
            [sys.executable, "-c", program, *line],
            cwd=desk,
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | compiled(desk),
        )
        peaks[backend] = int(done.stdout)
    return [
        {"case": "peak memory, 768x512", "threads": 2, "bar": 0.5, "unit": "of torch's"}
        | {"value": peaks["onnx"] / peaks["torch"], "megabytes": peaks["onnx"] / 1024}
    ]


if __name__ == "__main__":
    sys.exit(main())
