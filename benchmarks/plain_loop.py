"""The loop that a user of vector-quantize-pytorch would write: what vqtok is measured against.

    python benchmarks/plain_loop.py --data cifar10/train --test cifar10/test --json plain.json

The network is that of a preset, ``vqvae-2017`` unless told otherwise, layer by layer, from the same
initial weights, with ConvNeXt blocks as their authors write them; the codebook is that package's,
with moving averages, a k-means start and its own replacement of dead entries; losses, batch and
learning rates are the preset's; AdamW, float32, one batch after another from images that lie in
memory as uint8.
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
from vqtok.media.image.pixels import to_uint8
from vqtok.nn.convnext import Block
from vqtok.training import recipe
from vqtok.training.optimizers import learning_rate

LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss}


class Convnext(nn.Module):
    """The block of arXiv:2201.03545 in the words of its authors' code, with a block's weights."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        layer = block.depthwise
        kernel = layer.kernel_size
        self.dwconv = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            kernel,
            padding=(kernel[0] // 2, kernel[1] // 2),
            groups=layer.groups,
        )
        self.dwconv.load_state_dict(layer.state_dict())
        self.norm = nn.LayerNorm(layer.out_channels)
        self.norm.load_state_dict(block.norm.state_dict())
        self.pwconv1, self.pwconv2, self.gamma = block.expand, block.project, block.scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W) → the same shape."""
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(self.norm(y))))
        out: Tensor = x + y.permute(0, 3, 1, 2)
        return out


def plainly(module: nn.Module) -> nn.Module:
    """The same layers, without what vqtok makes faster in them."""
    for name, child in module.named_children():
        module.add_module(name, Convnext(child) if isinstance(child, Block) else plainly(child))
    return module


class Plain(nn.Module):
    """Encoder, ``VectorQuantize`` and decoder.

    Args:
        plan: A recipe of an image model with ``quantizers/vq``; the initial weights are those of a
            vqtok run with its seed.
        threshold: Average count below which the package replaces an entry, as a share of the mean
            count; 0: never.
    """

    def __init__(self, plan: recipe.Recipe, *, threshold: float) -> None:
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize

        torch.manual_seed(plan.train.seed)
        model: Any = plan.model.build()
        # The layers alone, where what chooses their memory layout is apart from them.
        self.encoder = plainly(getattr(model.encoder, "body", model.encoder))
        self.decoder = plainly(getattr(model.decoder, "body", model.decoder))
        config = model.quantizer.config
        mean = plan.train.batch * (plan.train.window // model.stride) ** 2 / config.codebook_size
        self.quantizer = VectorQuantize(
            dim=model.config.latent,
            codebook_size=config.codebook_size,
            decay=config.decay,
            commitment_weight=config.commitment,
            kmeans_init=True,
            kmeans_iters=config.kmeans,
            threshold_ema_dead_code=threshold * mean,  # the package's is a count
            accept_image_fmap=True,
            rotation_trick=False,  # its default; straight-through, as in Sonnet, does better here
        )
        self.plan, self.done = plan.train, 0
        self.optimizer = torch.optim.AdamW(
            [*self.encoder.parameters(), *self.decoder.parameters()],
            lr=self.plan.learning_rate,
            betas=self.plan.betas,
            weight_decay=self.plan.weight_decay,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) → reconstruction, codes, commitment loss."""
        z_q, codes, loss = self.quantizer(self.encoder(x))
        return self.decoder(z_q), codes, loss

    def step(self, x: Tensor) -> float:
        """One step of training; the reconstruction's loss."""
        for group in self.optimizer.param_groups:
            progress = self.done / self.plan.steps
            group["lr"] = learning_rate(self.plan, step=self.done, progress=progress)
        y, _, commitment = self(x)
        loss = sum(weight * LOSSES[name](y, x) for name, weight in self.plan.losses.items())
        self.optimizer.zero_grad()
        (loss + commitment.sum()).backward()
        self.optimizer.step()
        self.done += 1
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
    edits = [f"train.seed={chosen.seed}", f"train.steps={chosen.steps}", *chosen.edits]
    plan = recipe.load(chosen.preset, edits=edits)
    window = plan.train.window
    images = Images(files, window=window, batch=plan.train.batch, flip=plan.train.flip)
    held_out = centres(images_of(chosen.test), window)
    spread = variance(centres(files, window))
    model = Plain(plan, threshold=chosen.threshold)
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
    parser.add_argument("--preset", default="vqvae-2017", help="of an image model with vq")
    parser.add_argument(
        "--threshold", type=float, default=0.1, help="of replacement, as a share of the mean count"
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
