"""The loop that a user of vector-quantize-pytorch would write: what vqtok is measured against.

    python benchmarks/plain_loop.py --data cifar10/train --test cifar10/test --json plain.json

The network is that of the preset ``vqvae-2017``, layer by layer, from the same initial weights; the
codebook is that package's, with moving averages, a k-means start and its own replacement of dead
entries; Adam, float32, one batch after another from images that lie in memory as uint8.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scoring import PART, Scores, centres, images_of, scores, variance
from torch import Tensor, nn

from vqtok.media import image
from vqtok.media.pixels import to_uint8
from vqtok.training import recipe


class Plain(nn.Module):
    """Encoder, ``VectorQuantize`` and decoder.

    Args:
        seed: Of the initial weights, which are those of a vqtok run with this seed.
        threshold: Average count below which the package replaces an entry; 0: never.
        edits: Changes of the preset, as after ``vqtok train --set``.
    """

    def __init__(self, seed: int, *, threshold: float, edits: Sequence[str] = ()) -> None:
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize

        plan = recipe.load("vqvae-2017", edits=edits)
        torch.manual_seed(seed)
        model = plan.model.build()
        self.encoder, self.decoder = model.encoder.body, model.decoder.body
        config = model.quantizer.config
        self.quantizer = VectorQuantize(
            dim=model.config.latent,
            codebook_size=config.codebook_size,
            decay=config.decay,
            commitment_weight=config.commitment,
            kmeans_init=True,
            kmeans_iters=config.kmeans,
            threshold_ema_dead_code=threshold,
            accept_image_fmap=True,
            rotation_trick=False,  # its default; straight-through, as in Sonnet, does better here
        )
        self.weight = plan.train.losses["mse"]
        self.optimizer = torch.optim.Adam(
            [*self.encoder.parameters(), *self.decoder.parameters()], lr=plan.train.learning_rate
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) → reconstruction, codes, commitment loss."""
        z_q, codes, loss = self.quantizer(self.encoder(x))
        return self.decoder(z_q), codes, loss

    def step(self, x: Tensor) -> float:
        """One step of training; the reconstruction's loss."""
        y, _, commitment = self(x)
        loss = F.mse_loss(y, x)
        self.optimizer.zero_grad()
        (self.weight * loss + commitment.sum()).backward()
        self.optimizer.step()
        return float(loss.detach())


class Images:
    """Images in memory and random batches of them.

    Args:
        files: To be read at once; smaller images than ``window`` are left out.
        window: Side of the crop.
        batch: Images per batch.
        flip: Mirror half of them.
    """

    def __init__(self, files: Sequence[Path], *, window: int, batch: int, flip: bool) -> None:
        read = (torch.from_numpy(to_uint8(image.read(path)[0])) for path in files)
        self.pixels = [each for each in read if min(each.shape[1:]) >= window]
        self.window, self.batch, self.flip = window, batch, flip

    def draw(self, generator: np.random.Generator) -> Tensor:
        """(B, 3, window, window) float32 in [-1, 1]."""
        out = torch.empty(self.batch, 3, self.window, self.window, dtype=torch.uint8)
        for i, chosen in enumerate(generator.integers(len(self.pixels), size=self.batch)):
            pixels = self.pixels[chosen]
            top, left = (int(generator.integers(s - self.window + 1)) for s in pixels.shape[1:])
            crop = pixels[:, top : top + self.window, left : left + self.window]
            out[i] = crop.flip(2) if self.flip and generator.random() < 0.5 else crop
        return out.float() / 127.5 - 1.0


@torch.no_grad()
def measure(model: Plain, pixels: Tensor, *, spread: float) -> Scores:
    """The plain model over held-out uint8 images."""
    model.eval()
    decoded, codes = [], []
    for part in pixels.split(PART):
        y, found, _ = model(part.float() / 127.5 - 1.0)
        decoded.append(y.clamp(-1, 1))
        codes.append(found)
    model.train()
    size = model.quantizer.codebook_size
    return scores(torch.cat(decoded), pixels, torch.cat(codes), size=size, spread=spread)


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Train and measure; the scores, and the minutes that training took."""
    files = images_of(chosen.data)
    images = Images(files, window=chosen.window, batch=32, flip=True)
    held_out = centres(images_of(chosen.test), chosen.window)
    spread = variance(torch.stack(images.pixels))
    model = Plain(chosen.seed, threshold=chosen.threshold, edits=chosen.edits)
    generator = np.random.default_rng(chosen.seed)
    seconds = 0.0
    for step in range(1, chosen.steps + 1):
        begun = time.perf_counter()
        loss = model.step(images.draw(generator))
        seconds += time.perf_counter() - begun
        if step % 1000 == 0 or step == chosen.steps:
            found = measure(model, held_out, spread=spread)
            print(f"step {step}: loss {loss:.5f}, {found}", flush=True)
    return {**found._asdict(), "minutes": seconds / 60, "steps": chosen.steps}


def main() -> None:
    """Parse, train, print and write the scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="images to train on")
    parser.add_argument("--test", type=Path, required=True, help="images to measure on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument(
        "--threshold", type=float, default=0.4, help="of the package: a tenth of the mean count"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--set", dest="edits", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, help="write the scores there")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    result = run(chosen)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
