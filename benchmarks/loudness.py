"""How loud converted voices are beside their sources, and how quiet in the sources' pauses.

    python benchmarks/loudness.py held-out-speech/ --model speech-speaker --most 8

Each recording, cut to its first seconds, is encoded once and decoded as every speaker: "model" as
its decoder speaks, "file" as `vqtok decode` writes it. Loudness is what ``media.audio.loudness``
measures, less that of the source: least, median, most. Pauses are frames of 25 ms in which the
source is 40 dB below its own loudness; there, the level of the conversion, less its own loudness.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import soundfile

import vqtok
from vqtok.backends import torch_backend
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.media import audio
from vqtok.media.audio.loudness import FRAMES_PER_S, Loudness, frame_levels
from vqtok.pipeline import recordings
from vqtok.pipeline.encode import header_of
from vqtok.protocols import AudioCoder

PAUSE_DB = -40.0


def main() -> None:
    """Print a line per speaker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="speech-speaker")
    parser.add_argument("--most", type=int, default=8, help="recordings")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    coder = cast(AudioCoder, torch_backend.coder(vqtok.load(chosen.model)))
    rate = int(coder.spec.rate or 0)
    rows: dict[str, dict[str, list[float]]] = {name: {} for name in coder.labels}
    paths = sorted(path for path in chosen.folder.iterdir() if path.suffix in (".flac", ".wav"))
    for path in paths[: chosen.most]:
        with audio.Reader(path) as reader:
            x = np.concatenate(list(reader.blocks(rate, mono=True)), axis=1)
        x = x[:, : round(chosen.seconds * rate)]
        codes, header = encode(coder, x, rate)
        quiet = frame_levels(x, rate // FRAMES_PER_S)[0] < loudness(x, rate) + PAUSE_DB
        for name in coder.labels:
            plain = replace(header, source=replace(header.source, loudness_db=()))
            for way, told in (("model", plain), ("file", header)):
                y = decode(coder, codes, told, name)
                own, row = loudness(y, rate), rows[name]
                row.setdefault(f"{way} off", []).append(own - loudness(x, rate))
                pauses = frame_levels(y, rate // FRAMES_PER_S)[0][quiet] - own
                row.setdefault(f"{way} pauses", []).extend(pauses.tolist())
    print(f"{'':12}{'loudness off by, dB':>34}{'in pauses, dB: median, 90 %':>34}")
    print(f"{'speaker':12}{'model':>17}{'file':>17}{'model':>17}{'file':>17}")
    for name, row in rows.items():
        cells = [span(row[f"{way} off"]) for way in ("model", "file")]
        cells += [high(row[f"{way} pauses"]) for way in ("model", "file")]
        print(f"{name:12}" + "".join(f"{cell:>17}" for cell in cells))
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=2, sort_keys=True) + "\n")


def encode(coder: AudioCoder, x: np.ndarray, rate: int) -> tuple[Codes, Header]:
    """Encode (1, L) samples as the command would a file of them."""
    file = io.BytesIO()
    soundfile.write(file, x[0], rate, "FLOAT", format="WAV")
    file.seek(0)
    codes, source = recordings.encode(coder, file, mono=False)
    return codes, header_of(coder, codes.spec, source, extent=codes.extent, channels=1)


def decode(coder: AudioCoder, codes: Codes, header: Header, label: str) -> np.ndarray:
    """Decode to (1, L) samples as the command would to a file."""
    file = io.BytesIO()
    recordings.decode(coder, codes, header, file, format="wav", label=label)
    file.seek(0)
    return soundfile.read(file, dtype="float32", always_2d=True)[0].T


def loudness(samples: np.ndarray, rate: int) -> float:
    """Measure (1, L) samples, dB."""
    found = Loudness(rate)
    found.add(np.ascontiguousarray(samples))
    return found.db[0]


def span(values: list[float]) -> str:
    """Write the least, the median and the most."""
    middle = statistics.median(values)
    return f"{min(values):+.1f} {middle:+.1f} {max(values):+.1f}"


def high(values: list[float]) -> str:
    """Write the median and the highest tenth."""
    return f"{np.median(values):.0f} {np.percentile(values, 90):.0f}" if values else "none"


if __name__ == "__main__":
    main()
