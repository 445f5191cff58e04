"""How often codes hang on rounding, and whether they ever differ: every way of coding, compared.

    python benchmarks/exactness.py --images FOLDER --audio FOLDER
    python benchmarks/exactness.py --images FOLDER --model image-f8 --limit 20 --json exactness.json

Each file is coded whole, by one thread, one at a time. Then again with two threads, in batches of
3 and 8, in small tiles, and audio in blocks of odd lengths; where a GPU is, there too. Printed are
the codes that came out differently, with float32 alone and with near ties decided in float64 as
``encode`` does, the share of latents that this concerned, and the processor time it
added. Exit status 1 if a code of ``encode`` ever differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import vqtok
from vqtok.codes.container import Codes
from vqtok.media import audio, image
from vqtok.tokenizers import codec
from vqtok.tokenizers.exact import tiling2d

BLOCK = 7001
"""Samples per block where audio arrives in blocks: a prime."""

Coded = list[torch.Tensor]
Way = Callable[[Any, list[torch.Tensor]], Coded]


def main() -> int:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of images")
    parser.add_argument("--audio", type=Path, help="folder of recordings")
    parser.add_argument("--model", action="append", help="default: the shipped models")
    parser.add_argument("--limit", type=int, default=1000, help="files of each kind")
    parser.add_argument("--json", type=Path, help="write every figure here")
    args = parser.parse_args()
    rows = []
    for name in args.model or ("image-f8", "audio-24k"):
        model = vqtok.load(name)
        folder = args.images if model.spec.modality == "image" else args.audio
        if folder is not None:
            rows += measure(name, model, signals(folder, model, args.limit))
    for row in rows:
        print(
            f"{row['model']:10} {row['way']:24} {row['latents']:8} latents  "
            f"{row['alone']:5} codes differ in float32 alone  {row['decided']:3} decided  "
            f"{row['recomputed']:.3%} decided in float64, {row['extra']:+.0%} time"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2, sort_keys=True) + "\n")
    return int(any(row["decided"] for row in rows))


def signals(folder: Path, model: Any, limit: int) -> list[torch.Tensor]:
    """(C, H, W) images or (1, L) recordings."""
    kind = image if model.spec.modality == "image" else audio
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in kind.SUFFIXES)
    found = []
    for file in files[:limit]:
        if kind is image:
            found.append(torch.from_numpy(image.read(file)[0]))
        else:
            found.append(
                torch.from_numpy(audio.read(file, rate=int(model.spec.rate), mono=True)[0])
            )
    if not found:
        raise SystemExit(f"{folder}: no {model.spec.modality} files")
    return found


def alone(model: Any, xs: list[torch.Tensor]) -> Coded:
    """One at a time."""
    return [flat(model.encode(x[None])) for x in xs]


def flat(codes: Codes) -> torch.Tensor:
    """(N,): one item's codes of all levels."""
    return torch.cat([level.flatten().cpu() for level in codes.levels])


def together(count: int) -> Way:
    """So many at a time, in an order that mixes sizes."""

    def way(model: Any, xs: list[torch.Tensor]) -> Coded:
        codes: Coded = []
        for start in range(0, len(xs), count):
            found = model.encode_many(xs[start : start + count])
            codes.extend(map(flat, found))
        return codes

    return way


def in_blocks(model: Any, xs: list[torch.Tensor]) -> Coded:
    """Audio as it arrives."""
    return [
        torch.cat(list(model.encode_stream(x[None].split(BLOCK, dim=-1))), dim=-1).flatten().cpu()
        for x in xs
    ]


@contextmanager
def setting(*, threads: int = 1, tile: int | None = None) -> Iterator[None]:
    """Threads of torch, and the size of tiles."""
    before = torch.get_num_threads(), tiling2d.TILE, codec.TILE
    torch.set_num_threads(threads)
    if tile is not None:
        tiling2d.TILE = codec.TILE = tile
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        tiling2d.TILE, codec.TILE = before[1:]


@contextmanager
def float32_alone(model: Any) -> Iterator[None]:
    """Find no near ties."""
    for quantizer in model.quantizers:
        quantizer.assign = certain_of(quantizer.assign)
    try:
        yield
    finally:
        for quantizer in model.quantizers:
            del quantizer.assign


def certain_of(assign: Callable[..., Any]) -> Callable[..., Any]:
    """Make a ``Quantizer.assign`` that finds no near ties."""

    def certain(z: torch.Tensor, *, tolerance: float) -> Any:
        found = assign(z, tolerance=0.0)
        return found._replace(near_tie=torch.zeros_like(found.near_tie))

    return certain


def measure(name: str, model: Any, xs: list[torch.Tensor]) -> list[dict[str, Any]]:
    """Each way of coding against the first one."""
    ways: dict[str, tuple[Way, dict[str, Any]]] = {
        "two threads": (alone, {"threads": 2}),
        "batches of 3": (together(3), {}),
        "batches of 8": (together(8), {}),
        "tiles of 128": (alone, {"tile": 128}),
    }
    if model.spec.modality == "audio":
        ways[f"blocks of {BLOCK}"] = (in_blocks, {})
    with setting():
        alone(model, xs[:1])  # what is measured once per model
        plain, seconds = timed(float32_alone, model, xs)
        decided, more = timed(None, model, xs)
    rows = []
    for title, (way, how) in ways.items():
        rows.append(compare(model, xs, way, how, plain, decided))
        rows[-1] |= {"model": name, "way": title, "extra": more / seconds - 1}
    if torch.cuda.is_available():
        other = vqtok.load(name, device="cuda")
        rows.append(compare(other, xs, alone, {}, plain, decided))
        rows[-1] |= {"model": name, "way": "on CUDA", "extra": more / seconds - 1}
    return rows


def timed(
    within: Callable[[Any], Any] | None, model: Any, xs: list[torch.Tensor]
) -> tuple[Coded, float]:
    """Codes of each signal alone, and the processor time they took."""
    begun = time.process_time()
    if within is None:
        return alone(model, xs), time.process_time() - begun
    with within(model):
        return alone(model, xs), time.process_time() - begun


def compare(
    model: Any, xs: list[torch.Tensor], way: Way, how: dict[str, Any], plain: Coded, decided: Coded
) -> dict[str, Any]:
    """Codes that differ from those of one thread, one file at a time."""
    before = model.recompute_stats
    with setting(**how):
        now = way(model, xs)
        latents = model.recompute_stats.latents - before.latents
        recomputed = model.recompute_stats.recomputed - before.recomputed
        with float32_alone(model):
            rough = way(model, xs)
    return {
        "latents": latents,
        "recomputed": recomputed / latents,
        "decided": differing(now, decided),
        "alone": differing(rough, plain),
    }


def differing(left: Coded, right: Coded) -> int:
    """How many codes are not the same."""
    return sum(int((a != b).sum()) for a, b in zip(left, right, strict=True))


if __name__ == "__main__":
    sys.exit(main())
