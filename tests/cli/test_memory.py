"""Memory grows with what must be held, an image in Pillow's form and the codes, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.programs import environment

pytestmark = pytest.mark.slow


PROGRAM = """
import atexit, re, runpy, sys
from pathlib import Path

def tell():
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

atexit.register(tell)
sys.argv[0] = "vqtok"
runpy.run_module("vqtok", run_name="__main__")
"""
"""The command, which says at the end what it took. (What its parent hears of it, ``ru_maxrss``, is
never less than the parent's own size.)"""


def peak_mb(*arguments: str) -> float:
    """Greatest resident size of a command in a process of its own."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    environ = environment() | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) / 1000


def test_a_long_recording_takes_the_memory_of_a_short_one(here: Path):
    rng = np.random.default_rng(0)
    peaks: dict[str, list[float]] = {"encode": [], "decode": []}
    for seconds in (10, 600):
        with soundfile.SoundFile(f"{seconds}.wav", "w", 48_000, 2) as sound:
            for _ in range(seconds):
                sound.write(rng.uniform(-0.5, 0.5, (48_000, 2)))
        codes = f"{seconds}.npy"
        peaks["encode"].append(peak_mb("encode", f"{seconds}.wav", "-qo", codes))
        peaks["decode"].append(peak_mb("decode", codes, "-qo", f"{seconds}.back.wav"))
        assert soundfile.info(f"{seconds}.back.wav").frames == 48_000 * seconds
    # As float32 the longer one is 230 MB; its codes are 0.4 MB.
    for short, long in peaks.values():
        assert long - short < 40, peaks


@pytest.mark.parametrize(("mode", "bytes_per_pixel"), [("RGB", 4), ("L", 1)])
def test_a_large_picture_takes_what_pillow_needs_to_hold_it(here: Path, mode, bytes_per_pixel):
    peaks: dict[str, list[float]] = {"encode": [], "decode": []}
    for side in (1500, 6000):
        y = np.arange(side, dtype=np.uint32)[:, None]
        values = ((y + y.T) // 16 % 256).astype(np.uint8)
        Image.fromarray(values).convert(mode).save(f"{side}.png", compress_level=1)
        codes = f"{side}.npy"
        peaks["encode"].append(peak_mb("encode", f"{side}.png", "-qo", codes))
        peaks["decode"].append(peak_mb("decode", codes, "-qo", f"{side}.tiff"))
        with Image.open(f"{side}.tiff") as back:
            assert (back.size, back.mode) == ((side, side), mode)
    held = (6000**2 - 1500**2) * bytes_per_pixel / 1e6
    for small, large in peaks.values():
        assert large - small < held + 60, (held, peaks)
