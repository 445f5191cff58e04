"""What a decoder that went on alone (``vqtok train --stage decoder``) makes of the same codes.

    vqtok train --data photos/ -m image-f8 --stage decoder --steps 2000 -o sharper/
    python benchmarks/decoder_stage.py --test held-out/ image-f8 sharper/

Codes are made once, by the first model, of the largest middle of each image whose sides are
multiples of 32; every model decodes them, and its own codes must be the same. Columns, as means
over images: PSNR of uint8 pixels; SSIM; "detail", the sum of absolute differences between
neighbouring pixels over that of the original (1 is as sharp, less is blurred); "features", the
distance of ``train.losses.perceptual`` (EfficientNet-Lite0; it is not LPIPS), which judges
independently only where a model was not trained for it. PSNR falls where detail is invented: both
are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from scoring import images_of
from torch import Tensor

import vqtok
from vqtok.media import image
from vqtok.metrics.image import psnr, ssim
from vqtok.training.losses.perceptual import Perceptual
from vqtok.training.losses.terms import Pair

COLUMNS = {"psnr_db": 2, "ssim": 4, "detail": 3, "features": 4}


def main() -> None:
    """Parse, measure, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+", help="first the one whose codes are decoded")
    parser.add_argument("--test", type=Path, required=True, help="held-out images")
    parser.add_argument("--json", type=Path, help="write the means there")
    chosen = parser.parse_args()
    models: dict[str, Any] = {name: vqtok.load(name) for name in chosen.models}
    features = Perceptual()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for path in images_of(chosen.test):
        x = middle(torch.from_numpy(image.read(path)[0]))[None]
        codes = models[chosen.models[0]].encode(x)
        for name, model in models.items():
            if not torch.equal(model.encode(x).levels[0], codes.levels[0]):
                raise SystemExit(f"{name}: makes other codes of {path}")
            rows[name].append(scores(x, model.decode(codes), features))
    means = {
        name: {key: statistics.fmean(each[key] for each in found) for key in COLUMNS}
        for name, found in rows.items()
    }
    print(f"{'':32}" + "".join(f"{key:>10}" for key in COLUMNS))
    for name, found in means.items():
        cells = "".join(f"{found[key]:>10.{digits}f}" for key, digits in COLUMNS.items())
        print(f"{name[-32:]:32}{cells}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(means, indent=1, sort_keys=True) + "\n")


def middle(x: Tensor) -> Tensor:
    """The largest middle of (3, H, W) whose sides are multiples of 32."""
    height, width = (size - size % 32 for size in x.shape[1:])
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]


@torch.inference_mode()
def scores(x: Tensor, y: Tensor, features: Perceptual) -> dict[str, float]:
    """One reconstruction, (1, 3, H, W) each in [-1, 1]."""
    return {
        "psnr_db": float(psnr(x, y)),
        "ssim": float(ssim(x, y)),
        "detail": float(detail(y) / detail(x)),
        "features": float(features(Pair(y, x, rate=0.0))),
    }


def detail(x: Tensor) -> Tensor:
    """Sum of absolute differences between neighbours."""
    return x.diff(dim=-1).abs().sum() + x.diff(dim=-2).abs().sum()


if __name__ == "__main__":
    main()
