"""What ffmpeg makes and reads: the oracle for formats that libsndfile does not have."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def _run(arguments: Sequence[str], given: bytes = b"") -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-threads", "1"]
    return subprocess.run([*command, *arguments], input=given, capture_output=True).stdout


def encoded(samples: np.ndarray, rate: int, suffix: str, *options: str) -> bytes:
    """A file of (C, L) samples."""
    channels = len(samples)
    raw = ["-f", "f32le", "-ar", str(rate), "-ch_layout", LAYOUTS[channels], "-i", "-"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        _run([*raw, *options, str(path)], samples.T.astype("<f4").tobytes())
        return path.read_bytes()


def decoded(data: bytes, channels: int) -> np.ndarray:
    """(C, L) samples of a file, as ffmpeg decodes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(data)
        raw = _run(["-i", str(path), "-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "f32le", "-"])
    return np.frombuffer(raw, "<f4").reshape(-1, channels).T
