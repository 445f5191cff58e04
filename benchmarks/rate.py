"""Quality against the bytes of real files: packed codes beside JPEG, WebP, AVIF and Opus.

    python benchmarks/rate.py --images DIR --audio DIR --page rate.html --json rate.json

A model's bits are those of whole packed files (`.vqz`) with their headers. Each classical codec is
asked, file by file, for the bits of the first model times each of `FACTORS`, and gets the highest
setting whose whole file stays within them; what it took is what counts. Where its lowest setting
takes more, that is its point. Points are means over files, of rates and of qualities. Stages of
audio models are points of a curve. Image models are measured with each effort of ``--efforts``.
"""

from __future__ import annotations

import argparse
import html
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import codecs_for, found, print_table

from vqtok.codes import header as headers
from vqtok.codes import rates
from vqtok.codes.header import Source
from vqtok.codes.packed import vqz
from vqtok.effort import levels
from vqtok.media import audio, classical, image
from vqtok.metrics.registry import choose
from vqtok.pipeline.encode import header_of, image_source
from vqtok.pipeline.models import Models
from vqtok.protocols import Coder

FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)
IMAGE_MODELS = ("image-f8", "image-f16", "image-vqvae2")
AUDIO_MODELS = ("audio-24k",)
EFFORTS = (0, 3, 9)

Points = dict[tuple[str, float], list[dict[str, float]]]
"""Coder and what distinguishes its points → for each file the rate, and metrics by name."""


def stored_bits(models: Models, coder: Coder, codes: Any, source: Source) -> int:
    """Bits of the packed file of codes."""
    header = header_of(coder, codes.spec, source, extent=codes.extent, channels=len(codes))
    return 8 * len(vqz.dump(codes.numpy(), headers.encode(header), models.contexts.packing(header)))


def signals(kind: str, path: Path, rate: int) -> tuple[np.ndarray, Source, bool]:
    """The signal as coders take it, what it is, and whether it is grey."""
    if kind == "image":
        pixels, info = image.read(path)
        return pixels[None], image_source(info), image.is_grey(info)
    samples, _ = audio.read(path, rate=rate, mono=True)
    return samples[:, None], Source(path.name, rate, samples.shape[-1]), False


def as_shown(pixels: np.ndarray, *, grey: bool) -> np.ndarray:
    """Pictures as they are restored: (1, 3, H, W), grey ones as the mean of the channels."""
    return pixels.mean(1, keepdims=True).repeat(3, 1) if grey else pixels


def measured(
    columns: Sequence[Any], x: np.ndarray, y: np.ndarray, bits: float, rate: int
) -> dict[str, float]:
    """Rate and metrics of one reconstruction; ``rate`` is 0 of pictures."""
    kind, given = ("audio", {"rate_hz": rate}) if rate else ("image", {})
    pair = torch.from_numpy(x), torch.from_numpy(y)
    amount = rates.amount(x.shape[2:], rate or None)
    values = {each.name: float(each.value(*pair, **given)) for each in columns}
    return {"rate": rates.rate(bits, amount, kind), **values}


def measure(
    kind: str, names: Sequence[str], efforts: Sequence[int], files: Sequence[Path]
) -> tuple[Points, list[Any]]:
    """Measure all coders on all files of a kind; rates of others follow the first one's."""
    models: dict[str, Models] = {}
    for name in names:
        for effort in efforts:
            called = f"{name}, effort {effort}" if effort else name
            models[called] = Models(name, effort=levels.chosen(effort))
    points = defaultdict(list)
    coders = {name: each.load(each.named()) for name, each in models.items()}  # type: ignore[arg-type]
    columns = [each for each in choose(None, [kind])[0] if each.modality == kind]
    rate = round(next(iter(coders.values())).spec.rate or 0)
    for path in files:
        x, source, grey = signals(kind, path, rate)
        budget = 0.0
        for name, coder in coders.items():
            for depth in range(1, (coder.spec.depth or 1) + 1):
                kept = depth if coder.spec.depth else None
                trip = coder.round_trip(x, depth=kept, label=None)
                y = as_shown(trip.x, grey=grey)
                bits = stored_bits(models[name], coder, trip.codes, source)
                points[name, depth].append(measured(columns, x, y, bits, rate))
                budget = bits if name == next(iter(coders)) else budget
        for codec in codecs_for(kind):
            for factor in FACTORS:
                if kind == "image":
                    coded = classical.code_image(x[0], codec, budget * factor, grey=grey)
                    y = as_shown(coded.signal[None], grey=grey)
                else:
                    coded = classical.code_audio(x[:, 0], codec, budget * factor, rate=rate)
                    y = coded.signal[:, None]
                points[codec, factor].append(measured(columns, x, y, coded.bits, rate))
        print(path.name, flush=True)
    return points, columns


def drawn(curves: dict[str, list[dict[str, float]]], columns: Sequence[Any], unit: str) -> str:
    """One plot for each metric, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(columns), figsize=(5 * len(columns), 4), squeeze=False)
    for column, axis in zip(columns, axes[0], strict=True):
        for name, curve in curves.items():
            ordered = sorted(curve, key=lambda point: point["rate"])
            xs, ys = ([point[key] for point in ordered] for key in ("rate", column.name))
            axis.plot(xs, ys, marker="o", label=classical.TITLES.get(name, name))
        axis.set_xlabel(f"{unit}, whole files")
        axis.set_ylabel(f"{column.title} {column.unit}".strip())
        axis.grid(True)
    axes[0][0].legend()
    figure.tight_layout()
    out = io.StringIO()
    figure.savefig(out, format="svg")
    pyplot.close(figure)
    return out.getvalue()[out.getvalue().index("<svg") :]


def main() -> None:
    """Parse the arguments, print the tables, write the page and the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, metavar="DIR", help="held-out pictures")
    parser.add_argument("--audio", type=Path, metavar="DIR", help="held-out recordings")
    parser.add_argument("--audio-prefix", default="", help="only recordings named so: sp_")
    parser.add_argument("--image-model", action="append", help="may be repeated")
    parser.add_argument("--audio-model", action="append", help="may be repeated")
    parser.add_argument("--efforts", type=int, nargs="+", default=EFFORTS, metavar="N")
    parser.add_argument("--limit", type=int, help="only every nth file, so that N are left")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the plots there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    chosen = parser.parse_args()
    if chosen.images is None and chosen.audio is None:
        parser.error("name --images DIR or --audio DIR or both")
    data: dict[str, Any] = {}
    parts = []
    for kind, folder, names, suffixes in (
        ("image", chosen.images, chosen.image_model or IMAGE_MODELS, image.SUFFIXES),
        ("audio", chosen.audio, chosen.audio_model or AUDIO_MODELS, audio.SUFFIXES),
    ):
        if folder is None:
            continue
        files = found(folder, suffixes, None)
        if kind == "audio":
            files = [path for path in files if path.name.startswith(chosen.audio_prefix)]
        if chosen.limit:
            files = files[:: max(1, len(files) // chosen.limit)][: chosen.limit]
        efforts = chosen.efforts if kind == "image" else (0,)
        points, columns = measure(kind, names, efforts, files)
        unit = rates.unit(kind).symbol
        curves: dict[str, list[dict[str, float]]] = defaultdict(list)
        rows = [["coder", "point", unit, *(column.heading for column in columns)]]
        for (name, point), each in points.items():
            mean = {key: float(np.nanmean([item[key] for item in each])) for key in each[0]}
            curves[name].append(mean)
            cells = [column.format(mean[column.name]) for column in columns]
            rows.append([name, f"{point:g}", f"{mean['rate']:.3f}", *cells])
        print(f"\n{len(files)} files, means; {unit} of whole files\n")
        print_table(rows)
        data[kind] = {"files": [path.name for path in files], "curves": curves}
        title = html.escape(f"{len(files)} {kind} files")
        parts.append(f"<h2>{title}</h2>{drawn(curves, columns, unit)}")
    if chosen.page is not None:
        text = html.escape(" ".join((__doc__ or "").split("\n\n", 2)[2].split()))
        body = "\n".join(parts)
        chosen.page.write_text(
            f"<!doctype html><meta charset=utf-8><title>Quality against bytes</title>\n"
            f"<h1>Quality against bytes</h1><p>{text}</p>\n{body}\n",
            encoding="utf-8",
        )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
