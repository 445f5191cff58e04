"""Hold the codes of the two backends against each other, file by file: none may differ.

    python benchmarks/backends.py PHOTOS/ SOUNDS/ -m image-f8 -m audio-24k

Each file is coded by torch and by onnxruntime, each on every number of threads, whole and, where it
is larger than a tile, in tiles. Prints a row for each model and writes JSON with -o.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqtok.backends import onnx_backend, torch_backend
from vqtok.checkpoints import directory
from vqtok.codes.container import Codes
from vqtok.media import image
from vqtok.pipeline import recordings

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
SOUNDS = {".wav", ".flac", ".ogg", ".mp3", ".opus"}


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("-m", "--model", action="append", required=True)
    parser.add_argument("-t", "--threads", action="append", type=int)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    files = sorted(path for folder in given.folders for path in folder.rglob("*") if path.is_file())
    rows = [compared(name, files, given.threads or [1, 2]) for name in given.model]
    if given.output is not None:
        given.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def compared(name: str, files: list[Path], threads: list[int]) -> dict[str, Any]:
    """Count the codes of a model that differ, over all files of its kind."""
    info = directory.describe(name)
    theirs = torch_backend.coder(directory.load(info))
    ours = onnx_backend.coder(info.path, info.spec, name=info.name)
    kinds = PICTURES if info.spec.modality == "image" else SOUNDS
    total = differing = count = 0
    for path in files:
        if path.suffix.lower() not in kinds:
            continue
        count += 1
        found: list[tuple[np.ndarray, ...]] = []
        for coder, number in itertools.product((theirs, ours), threads):
            coder.use_threads(number)
            torch.set_num_threads(number)
            found.append(encoded(coder, path).levels)
        total += sum(level.size for level in found[0])
        for other in found[1:]:
            pairs = zip(found[0], other, strict=True)
            differing += sum(int((one != two).sum()) for one, two in pairs)
    row = {
        "model": info.name,
        "files": count,
        "codes": total,
        "differing": differing,
        "recomputed": {
            "torch": theirs.recompute_stats.recomputed,
            "onnx": ours.recompute_stats.recomputed,
        },
    }
    print(json.dumps(row), flush=True)
    return row


def encoded(coder: Any, path: Path) -> Codes:
    """Encode one file as the command does."""
    if coder.spec.modality == "image":
        picture = image.load(path, background="white", max_pixels=None)
        return coder.encode_windows((picture.info.height, picture.info.width), picture.window)
    return recordings.encode(coder, path, mono=False)[0]


if __name__ == "__main__":
    main()
