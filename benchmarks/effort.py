"""What ``--effort`` gains, and what it costs: decibels against seconds a megapixel.

``python benchmarks/effort.py photos/ -m image-f8 --pictures 8``: time is that of the CPU, of one
thread, so that other programs beside it count little; "decodes" is the same in decodings of the
picture by the same model, which depends less on the machine.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import vqtok
from vqtok.backends import torch_backend
from vqtok.effort.coder import EffortCoder
from vqtok.effort.levels import PASSES, chosen
from vqtok.media import image
from vqtok.metrics.image import psnr, ssim


def main() -> None:
    """Print a row for each effort."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-m", "--model", default="image-f8")
    parser.add_argument("--pictures", type=int, default=8, help="of the folder, evenly chosen")
    parser.add_argument("--crop", type=int, help="pixels per side of their middle; default: all")
    parser.add_argument("--efforts", type=int, nargs="+", default=[1, 3, 6, 9])
    parser.add_argument("--metric", default="mse")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    files = [path for path in sorted(given.folder.iterdir()) if path.suffix != ".csv"]
    files = files[:: max(1, len(files) // given.pictures)][: given.pictures]
    pictures = [_middle(image.read(path)[0], given.crop) for path in files]
    megapixels = sum(x[0].size for x in pictures) / 1e6
    tokenizer = vqtok.load(given.model)
    plain = torch_backend.image_coder(tokenizer)
    found, encode_s = _timed(lambda: [plain.encode_many([x])[0] for x in pictures])
    shown, decode_s = _timed(lambda: [plain.decode(codes) for codes in found])
    before = [_quality(x, y) for x, y in zip(pictures, shown, strict=True)]
    rows = [_row(0, 0, encode_s, decode_s, megapixels, before, before)]
    print(f"{given.model}, {len(pictures)} pictures, {megapixels:.2f} megapixels, {given.metric}")
    print("effort  passes  PSNR dB    gain  least    SSIM  s/megapixel  decodes", flush=True)
    for effort in [0, *given.efforts]:
        if effort:
            coder = EffortCoder(plain, tokenizer, chosen(effort, given.metric))
            found, seconds = _timed(
                lambda coder=coder: [coder.encode_many([x])[0] for x in pictures]
            )
            after = [
                _quality(x, plain.decode(codes)) for x, codes in zip(pictures, found, strict=True)
            ]
            rows.append(_row(effort, PASSES[effort], seconds, decode_s, megapixels, before, after))
        row = rows[-1]
        print(
            f"{row['effort']:6}  {row['passes']:6}  {row['psnr']:7.3f}  {row['gain']:6.3f} "
            f"{row['least']:6.3f}  {row['ssim']:.4f}  {row['seconds']:11.1f}  "
            f"{row['decodes']:7.1f}",
            flush=True,
        )
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _middle(x: np.ndarray, side: int | None) -> np.ndarray:
    if side is None:
        return x
    top, left = (max(0, (length - side) // 2) for length in x.shape[1:])
    return np.ascontiguousarray(x[:, top : top + side, left : left + side])


def _timed(run):
    begun = time.process_time()
    found = run()
    return found, time.process_time() - begun


def _quality(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    a, b = torch.from_numpy(x[None]), torch.from_numpy(y)
    return float(psnr(a, b)), float(ssim(a, b))


def _row(effort, passes, seconds, decode_s, megapixels, before, after):
    gains = [b[0] - a[0] for a, b in zip(before, after, strict=True)]
    return {
        "effort": effort,
        "passes": passes,
        "psnr": float(np.mean([each[0] for each in after])),
        "ssim": float(np.mean([each[1] for each in after])),
        "gain": float(np.mean(gains)),
        "least": float(np.min(gains)),
        "seconds": seconds / megapixels,
        "decodes": seconds / decode_s,
    }


if __name__ == "__main__":
    main()
