"""Quality of the shipped models on held-out files, beside classical codecs at the same bits.

    python benchmarks/quality.py --images DIR --audio DIR --json quality.json

JPEG, WebP, AVIF, Opus and MP3 are those of `vqtok eval -m image-f8 -m jpeg`: for each file the
highest setting whose whole file has no more bits than the model's codes, or else the lowest
setting, which is then nearest; "over" counts such files. "Opus told 9 kbit/s" is asked for that
rate, whatever its files then take. A model's bits are nominal, log2 K per code, without a header.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from vqtok import __version__
from vqtok.backends.torch_backend import coder
from vqtok.checkpoints import directory
from vqtok.media import audio, classical, image
from vqtok.media.plan import Job
from vqtok.metrics.metric import PROTOCOLS
from vqtok.metrics.registry import MEASURES
from vqtok.pipeline import compare
from vqtok.pipeline.classical import Classical
from vqtok.pipeline.evaluate import EvaluateOptions
from vqtok.pipeline.evaluated import Summary
from vqtok.pipeline.results import Failed

IMAGE_MODELS = ("image-f16", "image-f8", "image-vqvae2")
AUDIO_MODELS = ("audio-24k",)
OPUS_KBIT = (6, 9, 12)


class OpusTold(Classical):
    """Opus at a target rate instead of within bits.

    Args:
        kbit: Per second and channel, 6 to 256; smaller ones libsndfile does not ask Opus for.
        rate_hz: Of the recordings, one of Opus's.
    """

    def __init__(self, kbit: int, *, rate_hz: float) -> None:
        super().__init__("opus", like="nothing", rate_hz=rate_hz)
        self.kbit, self.rate = kbit, round(rate_hz)

    @property
    def label(self) -> str:
        """Name of its row."""
        return f"Opus told {self.kbit} kbit/s"

    def code(
        self, x: np.ndarray, *, bits: float, grey: bool = False
    ) -> tuple[np.ndarray, classical.Coded]:
        """Code and decode (C, 1, n); ``bits`` are not asked for."""
        out = io.BytesIO()
        # libsndfile: level 0 is 256 kbit/s a channel, level 1 is 6
        level = 1 - (self.kbit - 6) / 250
        samples = x[:, 0].clip(-1, 1).T
        start = time.perf_counter()
        soundfile.write(
            out, samples, self.rate, format="OGG", subtype="OPUS", compression_level=level
        )
        written = time.perf_counter()
        y, _ = soundfile.read(io.BytesIO(out.getvalue()), dtype="float32", always_2d=True)
        decode_s = time.perf_counter() - written
        signal = np.ascontiguousarray(y.T[:, : x.shape[2]])
        coded = classical.Coded(signal, 8 * len(out.getvalue()), written - start, decode_s)
        return signal[:, None], coded


def summaries_of(
    tokenizer: Any, files: Sequence[Path], kind: str, depth: int | None, beside: Sequence[Any]
) -> tuple[Summary, ...]:
    """The model's summary, then those of the codecs that get its bits."""
    rows = [compare.Method(tokenizer.name, lambda _: coder(tokenizer), (kind,))]
    for each in beside:
        if isinstance(each, OpusTold):
            made = lambda _, each=each: each  # noqa: E731
            rows.append(compare.Method(each.label, made, (kind,), has_codes=False))
        else:
            rows.append(compare.classical(each))
    options = EvaluateOptions(depth=depth, mono=True)
    comparison = compare.Comparison(rows, options=options, kinds=[kind])
    for result in comparison.run([Job(path, None, kind) for path in files]):  # type: ignore[arg-type]
        if isinstance(result, Failed):
            raise SystemExit(f"{result.error}")
    return comparison.summaries()


def measure(
    kind: str, models: Sequence[str], files: Sequence[Path], codecs: Sequence[str]
) -> list[dict[str, Any]]:
    """One table of one kind of file: each model at each depth, the codecs beside its last."""
    rows: list[tuple[str, Summary]] = []
    notes: list[str] = []
    for model in models:
        tokenizer = directory.load(model)
        beside: list[Any] = list(codecs)
        if "opus" in codecs:
            rate_hz = tokenizer.spec.rate
            beside += [OpusTold(kbit, rate_hz=rate_hz) for kbit in OPUS_KBIT]
        stages = tokenizer.spec.depth
        depths = [None] if stages is None else list(range(1, stages + 1))
        for depth in depths:
            label = tokenizer.name if depth is None else f"{tokenizer.name}, depth {depth}"
            shown = beside if depth == depths[-1] else []
            first, *others = summaries_of(tokenizer, files, kind, depth, shown)
            rows.append((label, first))
            rows += [(title(each.model, label), each) for each in others]
        notes += [f"{tokenizer.name}{level}: {text}" for level, text in uses(first)]
    unit = "bits/pixel" if kind == "image" else "kbit/s"
    columns = rows[0][1].columns
    print(f"\n{len(files)} files, mean ± sd over files\n")
    head = ["coder", unit, *(column.heading for column in columns), "over"]
    print_table([head, *(cells(label, summary) for label, summary in rows)])
    print("", *notes, sep="\n")
    return [{"coder": label} | summary.to_json() for label, summary in rows]


def title(model: str, beside: str) -> str:
    """Name of the row of a codec."""
    return f"{classical.TITLES[model]} beside {beside}" if model in classical.TITLES else model


def uses(summary: Summary) -> list[tuple[str, str]]:
    """Level and how its codebook was used."""
    many = len(summary.levels) > 1
    return [
        (
            f" {name}" if many else "",
            f"{use.share:.1%} used of {use.entries} entries by {use.tokens} codes, "
            f"entropy {use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits",
        )
        for name, use in ((name, usage.total) for name, usage in summary.levels.items())
    ]


def cells(label: str, summary: Summary) -> list[str]:
    """Text of one row; the rate is the mean over files."""
    row = [label, f"{summary.rate_statistic.mean:.3f}"]
    for column in summary.columns:
        found = summary.statistics[column.name]
        row.append(f"{column.format(found.mean)} ± {column.format(found.sd)}")
    return [*row, str(summary.over)]


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns, names to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        aligned = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([f"{row[0]:<{widths[0]}}", *aligned]))


def found(folder: Path, suffixes: Sequence[str], limit: int | None) -> list[Path]:
    """Media below a folder, sorted."""
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in suffixes]
    if not files:
        raise SystemExit(f"{folder}: no {', '.join(suffixes)} files")
    return files[:limit]


def codecs_for(kind: str) -> list[str]:
    """Those that Pillow and libsndfile have here; the others are named."""
    names = [name for name, each in classical.KINDS.items() if each == kind]
    for name in names:
        reason = classical.missing(name)
        if reason is not None:
            print(f"{classical.TITLES[name]} left out: {reason}")
    return [name for name in names if classical.missing(name) is None]


def main() -> None:
    """Parse the arguments, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, metavar="DIR", help="held-out pictures")
    parser.add_argument("--audio", type=Path, metavar="DIR", help="held-out recordings")
    parser.add_argument("--audio-prefix", default="", help="only recordings named so: sp_")
    parser.add_argument(
        "--image-model",
        action="append",
        help=f"may be repeated; default: {', '.join(IMAGE_MODELS)}",
    )
    parser.add_argument(
        "--audio-model",
        action="append",
        help=f"may be repeated; default: {', '.join(AUDIO_MODELS)}",
    )
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
        data["image"] = measure(
            "image", chosen.image_model or IMAGE_MODELS, files, codecs_for("image")
        )
    if chosen.audio is not None:
        print_protocol("audio")
        files = found(chosen.audio, audio.SUFFIXES, None)
        files = [p for p in files if p.name.startswith(chosen.audio_prefix)][: chosen.limit]
        data["audio"] = measure(
            "audio", chosen.audio_model or AUDIO_MODELS, files, codecs_for("audio")
        )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n")


def print_protocol(kind: str) -> None:
    """Say how the numbers of a table come about."""
    print(f"\n{PROTOCOLS[kind]}")
    for column in MEASURES:
        if column.modality == kind:
            print(f"{column.title}: {column.protocol}.")
    print(" ".join((__doc__ or "").split("\n\n", 2)[2].split()))


if __name__ == "__main__":
    main()
