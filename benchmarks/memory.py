"""Peak memory against the size of the input: ours, and whole-file peers beside it.

    python benchmarks/memory.py
    python benchmarks/memory.py --seconds 30 300 --sides 1500 6000 --json memory.json

Every figure is the greatest resident size of a fresh process, as it says itself at its end.
Recordings are 48 kHz stereo WAV, 16 bits; pictures are RGB PNG. Ours are ``vqtok encode`` and
``vqtok decode`` of the file. Beside the pictures stands Pillow, which opens and loads the same file
and does nothing else; beside the recordings, where installed, transformers' EnCodec and DAC with
their default configurations and random weights (memory does not depend on what weights are), which
get the same samples, resampled to their rate, as one call of ``encode``. A process that grows
beyond ``--limit-gb`` is killed. Exit status 1 if a bar is missed: recordings of any length within
100 MB of each other, pictures within what Pillow needs and 300 MB.
"""

from __future__ import annotations

import argparse
import atexit
import importlib.util
import json
import os
import platform
import re
import resource
import runpy
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
RATE = 48_000
AUDIO_SPREAD_MB = 100.0
"""Peaks of all lengths of recordings lie within this."""
IMAGE_EXTRA_MB = 300.0
"""Pictures may take this much more than Pillow does."""
PEERS = ("encodec", "dac")


def main() -> int:
    """Parse, measure, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=int, nargs="*", default=[30, 300, 1800, 10_800])
    parser.add_argument("--sides", type=int, nargs="*", default=[1500, 6000, 20_000])
    parser.add_argument("--limit-gb", type=float, default=8.0, help="kill what grows beyond this")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--folder", type=Path, help="for inputs and outputs; several GB")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    if sys.argv[1:2] == ["--worker"]:
        return work(sys.argv[2], sys.argv[3:])
    args = parser.parse_args()
    peers = PEERS if not args.no_peers and importlib.util.find_spec("transformers") else ()
    if args.folder is not None:
        args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        rows = [
            row
            for seconds in args.seconds
            for row in recordings(folder, seconds, peers, args.limit_gb)
        ]
        rows += [row for side in args.sides for row in pictures(folder, side, args.limit_gb)]
    return report(rows, args.limit_gb, args.json)


VQTOK = [sys.executable, __file__, "--worker", "vqtok"]


def recordings(
    folder: Path, seconds: int, peers: tuple[str, ...], limit_gb: float
) -> list[dict[str, Any]]:
    """Rows of one length of recording."""
    wav, codes, back = (folder / name for name in ("in.wav", "codes.npy", "back.wav"))
    write_wav(wav, seconds)
    size = f"{seconds} s"
    encode = [*VQTOK, "encode", str(wav), "-qfo", str(codes)]
    decode = [*VQTOK, "decode", str(codes), "-qfo", str(back)]
    rows = [
        row("audio", size, "vqtok encode", encode, limit_gb),
        row("audio", size, "vqtok decode", decode, limit_gb),
    ]
    for peer in peers:
        command = [sys.executable, "-W", "ignore", __file__, "--worker", peer, str(wav)]
        rows.append(row("audio", size, f"transformers {peer}", command, limit_gb))
    for path in (wav, codes, back):
        path.unlink(missing_ok=True)
    return rows


def pictures(folder: Path, side: int, limit_gb: float) -> list[dict[str, Any]]:
    """Rows of one size of picture."""
    png, codes, back = (folder / name for name in ("in.png", "codes.npy", "back.png"))
    write_png(png, side)
    size = f"{side} x {side}"
    pillow = [sys.executable, __file__, "--worker", "pillow", str(png)]
    encode = [*VQTOK, "encode", str(png), "-qfo", str(codes), "--max-pixels", str(side * side)]
    decode = [*VQTOK, "decode", str(codes), "-qfo", str(back)]
    rows = [
        row("image", size, "Pillow", pillow, limit_gb),
        row("image", size, "vqtok encode", encode, limit_gb),
        row("image", size, "vqtok decode", decode, limit_gb),
    ]
    for path in (png, codes, back):
        path.unlink(missing_ok=True)
    return rows


def row(kind: str, size: str, what: str, command: list[str], limit_gb: float) -> dict[str, Any]:
    """Run it in a process of its own; ``peak_mb`` is None if it was killed."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    killed = False
    while process.poll() is None:
        if not killed and resident_mb(process.pid) > limit_gb * 1000:
            process.kill()
            killed = True
        time.sleep(0.01)
    said = process.communicate()[0].split()
    if process.returncode and not killed:
        raise SystemExit(f"{what} of {size} failed with status {process.returncode}")
    peak_mb = None if killed else float(said[-1])
    seconds = time.perf_counter() - begun
    shown = f"killed at {limit_gb:g} GB" if peak_mb is None else f"{peak_mb:.0f} MB"
    print(f"{kind}  {size:>15}  {what:<22} {shown:>16} {seconds:9.1f} s", flush=True)
    return {"kind": kind, "size": size, "what": what, "peak_mb": peak_mb, "seconds": seconds}


def environment() -> dict[str, str]:
    """Vqtok importable from the checkout."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path}


def resident_mb(pid: int) -> float:
    """Resident size now; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def work(what: str, arguments: list[str]) -> int:
    """What is measured, in a process of its own, which prints its peak at the end."""
    atexit.register(lambda: print(peak_mb()))
    if what == "vqtok":
        sys.argv[:] = ["vqtok", *arguments]
        runpy.run_module("vqtok", run_name="__main__")
    elif what == "pillow":
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None
        with Image.open(arguments[0]) as image:
            image.load()
    else:
        encode_whole(what, Path(arguments[0]))
    return 0


def encode_whole(peer: str, path: Path) -> None:
    """A recording through a peer's encoder, its channels as a batch."""
    import soxr
    import torch
    import transformers

    config, model = {
        "encodec": (transformers.EncodecConfig, transformers.EncodecModel),
        "dac": (transformers.DacConfig, transformers.DacModel),
    }[peer]
    network = model(config()).eval()
    samples, rate = soundfile.read(path, dtype="float32")
    samples = soxr.resample(samples, rate, network.config.sampling_rate)
    with torch.inference_mode():
        network.encode(torch.from_numpy(samples.T[:, None].copy()))


def peak_mb() -> float:
    """Greatest resident size of this process so far."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # a parent's size may count here
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1000


def write_wav(path: Path, seconds: int) -> None:
    """Two tones and a little noise, written second by second."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE)[:, None] / RATE
    tones = 0.3 * np.sin(2 * np.pi * np.array([220.0, 330.0]) * t)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as sound:
        for _ in range(seconds):
            sound.write(tones + 0.05 * rng.standard_normal(tones.shape))


def write_png(path: Path, side: int) -> None:
    """Smooth colours and a little noise, written row by row."""
    rng = np.random.default_rng(0)
    squeeze = zlib.compressobj(1)
    x = np.arange(side)[:, None] * np.array([1, 2, 3])
    with path.open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        chunk(stream, b"IHDR", struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0))
        for y in range(side):
            noise = rng.integers(0, 8, (side, 3))
            pixels = ((x + y) // 16 % 200 + noise).astype(np.uint8)
            chunk(stream, b"IDAT", squeeze.compress(b"\0" + pixels.tobytes()))
        chunk(stream, b"IDAT", squeeze.flush())
        chunk(stream, b"IEND", b"")


def chunk(stream: BinaryIO, kind: bytes, body: bytes) -> None:
    """One chunk of a PNG."""
    stream.write(struct.pack(">I", len(body)) + kind + body)
    stream.write(struct.pack(">I", zlib.crc32(kind + body)))


def report(rows: list[dict[str, Any]], limit_gb: float, target: Path | None) -> int:
    """Print the verdicts; 1 if a bar is missed."""
    good = True
    for verb in ("vqtok encode", "vqtok decode"):
        peaks = [r["peak_mb"] for r in rows if r["kind"] == "audio" and r["what"] == verb]
        if peaks:
            spread = float("inf") if None in peaks else max(peaks) - min(peaks)
            met = spread <= AUDIO_SPREAD_MB
            good = good and met
            shown = f"{spread:.0f} MB between lengths, bar {AUDIO_SPREAD_MB:.0f}"
            print(f"{verb}: {shown}: {'met' if met else 'MISSED'}")
    for size in dict.fromkeys(r["size"] for r in rows if r["kind"] == "image"):
        group = {r["what"]: r["peak_mb"] for r in rows if r["size"] == size}
        for verb in ("vqtok encode", "vqtok decode"):
            found, pillow = group[verb], group["Pillow"]
            extra = float("inf") if found is None or pillow is None else found - pillow
            met = extra <= IMAGE_EXTRA_MB
            good = good and met
            shown = f"{extra:.0f} MB more than Pillow, bar {IMAGE_EXTRA_MB:.0f}"
            print(f"{verb} {size}: {shown}: {'met' if met else 'MISSED'}")
    if target is not None:
        data = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "limit_gb": limit_gb,
            "rows": rows,
        }
        target.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
