"""Quality of the shipped models on held-out files, beside JPEG, WebP and Opus at the same bits.

    python benchmarks/quality.py --images DIR --audio DIR --json quality.json

For each picture JPEG (optimised, progressive, 4:2:0) and WebP (method 6) get the highest quality
whose whole file has no more bits than the model's codes, or else their lowest quality, which is
then nearest; "over" counts such files. Opus (libsndfile, Ogg, variable rate) gets the level whose
whole file is nearest. A model's bits are nominal, log2 K per code, without a header.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from PIL import Image

from vqtok import __version__
from vqtok.checkpoints import directory
from vqtok.media import audio, image
from vqtok.media.plan import Job
from vqtok.metrics.report import METRICS, PROTOCOLS, Column, Running, plain
from vqtok.pipeline.evaluate import EvaluateOptions, Evaluation
from vqtok.pipeline.evaluated import ItemReport
from vqtok.pipeline.measure import choose, measure_audio, measure_image

QUALITIES = range(1, 96)
LEVELS = 24  # steps of Opus' compression level, 0 (256 kbit/s) to 1 (6 kbit/s)


class Coded(NamedTuple):
    """One file through one coder."""

    rate: float
    """Bits per pixel or kbit/s."""
    values: dict[str, float]
    over: bool
    """Whether it takes more bits than the model."""


class Row:
    """Mean and spread of one coder over the files."""

    def __init__(self, name: str, columns: Sequence[Column]) -> None:
        self.name, self.columns, self.over = name, columns, 0
        self.rate = Running()
        self.metrics = {column.name: Running() for column in columns}

    def add(self, coded: Coded) -> None:
        """Take one file."""
        self.rate.add(coded.rate)
        self.over += coded.over
        for name, running in self.metrics.items():
            running.add(coded.values[name])

    def cells(self) -> list[str]:
        """Text of each cell."""
        cells = [self.name, f"{self.rate.statistic.mean:.3f}"]
        for column in self.columns:
            found = self.metrics[column.name].statistic
            cells.append(f"{column.format(found.mean)} ± {column.format(found.sd)}")
        return [*cells, str(self.over)]

    def to_json(self) -> dict[str, Any]:
        """Everything, unrounded by the table's decimals."""
        data: dict[str, Any] = {"coder": self.name, "rate": plain(self.rate.statistic.mean)}
        data["over"] = self.over
        for column in self.columns:
            data[column.key] = self.metrics[column.name].statistic.to_json()
        return data


def picture_bytes(pixels: Image.Image, format: str, quality: int) -> bytes:
    """A picture as JPEG or WebP."""
    options: dict[str, Any] = {"optimize": True, "progressive": True}
    if format == "WEBP":
        options = {"method": 6}
    out = io.BytesIO()
    pixels.save(out, format, quality=quality, **options)
    return out.getvalue()


def best_picture(pixels: Image.Image, format: str, bits: float) -> bytes:
    """The file of the highest quality within the bits, found by bisection; else the lowest."""
    low, high = QUALITIES[0], QUALITIES[-1]
    best = picture_bytes(pixels, format, low)
    while low < high and 8 * len(best) <= bits:
        middle = (low + high + 1) // 2
        tried = picture_bytes(pixels, format, middle)
        if 8 * len(tried) <= bits:
            best, low = tried, middle
        else:
            high = middle - 1
    return best


def opus_bytes(samples: np.ndarray, rate: int, level: float) -> bytes:
    """Mono (L,) samples as Ogg Opus."""
    out = io.BytesIO()
    with soundfile.SoundFile(
        out, "w", rate, 1, format="OGG", subtype="OPUS", compression_level=level
    ) as sound:
        for start in range(0, len(samples), 1 << 13):
            sound.write(samples[start : start + (1 << 13)])
    return out.getvalue()


def nearest_opus(samples: np.ndarray, rate: int, bits: float) -> bytes:
    """The file whose size is nearest to the bits, by bisection over the level."""
    low, high = 0, LEVELS  # low levels are large files
    tried = {level: opus_bytes(samples, rate, level / LEVELS) for level in (low, high)}
    while high - low > 1:
        middle = (low + high) // 2
        tried[middle] = opus_bytes(samples, rate, middle / LEVELS)
        if 8 * len(tried[middle]) > bits:
            low = middle
        else:
            high = middle
    return min(tried.values(), key=lambda data: abs(8 * len(data) - bits))


def code_picture(path: Path, format: str, bits: float, columns: Sequence[Column]) -> Coded:
    """One picture through JPEG or WebP."""
    x, info = image.read(path)
    pixels = Image.fromarray(image.to_uint8(x).transpose(1, 2, 0))
    # Grey pictures are stored as grey: no bits for colour that is not there.
    data = best_picture(pixels.convert("L") if image.is_grey(info) else pixels, format, bits)
    y, _ = image.read(io.BytesIO(data))
    pair = (torch.from_numpy(each)[None] for each in (x, y))
    size = 8 * len(data)
    return Coded(size / (x.shape[1] * x.shape[2]), measure_image(*pair, columns), size > bits)


def code_sound(path: Path, bits: float, columns: Sequence[Column], *, rate: int) -> Coded:
    """One recording, mixed to mono at the model's rate, through Opus."""
    x, _ = audio.read(path, rate=rate, mono=True)
    data = nearest_opus(x[0], rate, bits)
    decoded, _ = audio.read(io.BytesIO(data), rate=rate)
    y = np.zeros_like(x)
    length = min(x.shape[1], decoded.shape[1])
    y[:, :length] = decoded[:, :length]
    pair = [torch.from_numpy(each)[:, None] for each in (x, y)]
    seconds, size = x.shape[1] / rate, 8 * len(data)
    return Coded(size / seconds / 1000, measure_audio(*pair, columns, rate=rate), size > bits)


def evaluate(
    tokenizer: Any, files: Sequence[Path], kind: str, depth: int | None
) -> tuple[list[ItemReport], dict[str, Any]]:
    """The model's reports and summary."""
    options = EvaluateOptions(depth=depth, mono=True)
    run = Evaluation(lambda _: tokenizer, options=options, kinds=[kind])
    reports = []
    for result in run.run([Job(path, None, kind) for path in files]):  # type: ignore[arg-type]
        if not isinstance(result, ItemReport):
            raise SystemExit(f"{result.error}")
        reports.append(result)
    (summary,) = run.summaries()
    return reports, summary.to_json()


def compare(
    kind: str,
    model: str,
    files: Sequence[Path],
    depths: Sequence[int | None],
    coders: dict[str, Callable[[Path, ItemReport, Sequence[Column]], Coded]],
) -> dict[str, Any]:
    """Table and JSON of one kind of file: the model at each depth, then the other coders."""
    tokenizer = directory.load(model)
    columns = [column for column in choose(None, [kind])[0] if column.modality == kind]
    rows, summaries = [], []
    for depth in depths:
        reports, summary = evaluate(tokenizer, files, kind, depth)
        label = tokenizer.name if depth is None else f"{tokenizer.name}, depth {depth}"
        row = Row(label, columns)
        for report in reports:
            row.add(Coded(report.rate, dict(report.values), False))
        rows.append(row)
        summaries.append(summary)
    for name, code in coders.items():
        row = Row(f"{name} beside {label}", columns)
        for report in reports:
            row.add(code(report.source or Path(), report, columns))
        rows.append(row)
    unit = "bits/pixel" if kind == "image" else "kbit/s"
    head = ["coder", unit, *(column.heading for column in columns), "over"]
    print(f"\n{len(files)} files, mean ± sd over files\n")
    print_table([head, *(row.cells() for row in rows)])
    use = summaries[-1]["codebook"]
    print(
        f"\ncodebook: {use['share']:.1%} used of {use['entries']} entries by {use['tokens']} codes,"
        f" entropy {use['entropy_bits']:.2f} of {use['nominal_bits']:.2f} bits"
    )
    return {
        "model": tokenizer.name,
        "rows": [row.to_json() for row in rows],
        "summaries": summaries,
    }


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns, names to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([f"{row[0]:<{widths[0]}}", *cells]))


def found(folder: Path, suffixes: Sequence[str], limit: int | None) -> list[Path]:
    """Media below a folder, sorted."""
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in suffixes]
    if not files:
        raise SystemExit(f"{folder}: no {', '.join(suffixes)} files")
    return files[:limit]


def _image_coders() -> dict[str, Callable[[Path, ItemReport, Sequence[Column]], Coded]]:
    def coder(format: str) -> Callable[[Path, ItemReport, Sequence[Column]], Coded]:
        return lambda path, report, columns: code_picture(path, format, report.bits, columns)

    return {"JPEG": coder("JPEG"), "WebP": coder("WEBP")}


def _audio_coders(
    model: str,
) -> dict[str, Callable[[Path, ItemReport, Sequence[Column]], Coded]]:
    if "OPUS" not in soundfile.available_subtypes("OGG"):
        print("Opus left out: this libsndfile cannot write it")
        return {}
    rate = int(directory.describe(model).spec.rate or 0)
    return {"Opus": lambda path, r, columns: code_sound(path, r.bits, columns, rate=rate)}


def main() -> None:
    """Parse the arguments, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, metavar="DIR", help="held-out pictures")
    parser.add_argument("--audio", type=Path, metavar="DIR", help="held-out recordings")
    parser.add_argument("--audio-prefix", default="", help="only recordings named so: sp_")
    parser.add_argument("--image-model", default="image-f8")
    parser.add_argument("--audio-model", default="audio-24k")
    parser.add_argument("--limit", type=int, help="only the first N files of each kind")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    chosen = parser.parse_args()
    if chosen.images is None and chosen.audio is None:
        parser.error("name --images DIR or --audio DIR or both")
    torch.set_num_threads(chosen.threads)
    data: dict[str, Any] = {"vqtok": __version__, "torch": torch.__version__}
    data["machine"] = f"{platform.machine()}, {chosen.threads} threads"
    if chosen.images is not None:
        print_protocol("image")
        files = found(chosen.images, image.SUFFIXES, chosen.limit)
        data["image"] = compare("image", chosen.image_model, files, [None], _image_coders())
    if chosen.audio is not None:
        print_protocol("audio")
        files = found(chosen.audio, audio.SUFFIXES, None)
        files = [p for p in files if p.name.startswith(chosen.audio_prefix)][: chosen.limit]
        depths = _depths(directory.describe(chosen.audio_model).spec.depth)
        coders = _audio_coders(chosen.audio_model)
        data["audio"] = compare("audio", chosen.audio_model, files, depths, coders)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n")


def print_protocol(kind: str) -> None:
    """Say how the numbers of a table come about."""
    print(f"\n{PROTOCOLS[kind]}")
    for column in METRICS:
        if column.modality == kind:
            print(f"{column.title}: {column.protocol}.")
    print(" ".join((__doc__ or "").split("\n\n", 2)[2].split()))


def _depths(depth: int | None) -> list[int | None]:
    """1, 2, 4, … and the full depth."""
    if depth is None:
        return [None]
    powers = [2**i for i in range(math.floor(math.log2(depth)) + 1)]
    return [*powers, *([depth] if depth not in powers else [])]


if __name__ == "__main__":
    main()
