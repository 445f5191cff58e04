"""What coding costs on one CPU thread: image-f8 against a VQGAN f16, audio-24k against real time.

    python benchmarks/encode_speed.py
    python benchmarks/encode_speed.py --rounds 9 --json encode_speed.json

The VQGAN is ``VQModel`` of diffusers at the sizes of the published ImageNet f16 models (encoder
and decoder of 66 million parameters), with random weights: time does not depend on them. Both code
the same 256x256 image, in turn, round by round, so that a busy moment hits both; "encoder" is their
network alone, without the search of the codebook. Audio is ten seconds of noise, coded with all
codebooks. The first round warms up and is not counted. Medians; exit status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqtok.checkpoints import directory

FASTER = 10.0
"""Times as fast as the VQGAN that image-f8 has to be."""
REAL_TIME = 20.0
"""Times real time that audio-24k has to be."""
SECONDS = 10


def vqgan_f16() -> Any:
    """The VQGAN of taming-transformers' ``vqgan_imagenet_f16_16384``, as diffusers has it."""
    from diffusers import VQModel

    levels = 5
    return VQModel(
        block_out_channels=(128, 128, 256, 256, 512),
        down_block_types=("DownEncoderBlock2D",) * (levels - 1) + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * (levels - 1),
        layers_per_block=2,
        latent_channels=256,
        num_vq_embeddings=16384,
        norm_num_groups=32,
        vq_embed_dim=256,
    ).eval()


def main() -> int:
    """Parse, measure in turns, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--image-model", default="image-f8")
    parser.add_argument("--audio-model", default="audio-24k")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seconds = measure(steps(args.image_model, args.audio_model), args.rounds)
    if args.json is not None:
        args.json.write_text(json.dumps(seconds, indent=2, sort_keys=True) + "\n")
    return report({name: statistics.median(values) for name, values in seconds.items()})


def steps(image_model: str, audio_model: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    torch.manual_seed(0)
    peer = vqgan_f16()
    image: Any = directory.load(image_model)
    audio: Any = directory.load(audio_model)
    x = torch.rand(1, 3, 256, 256) * 2 - 1
    sound = torch.randn(1, 1, SECONDS * audio.rate) * 0.1

    def peer_codes() -> Tensor:
        codes: Tensor = peer.quantize(peer.encode(x).latents)[2][2]
        return codes

    return {
        "encoder/vqgan-f16": lambda: peer.encode(x),
        "encoder/ours": lambda: image.latents(x),
        "codes/vqgan-f16": peer_codes,
        "codes/ours": lambda: image.encode(x),
        "audio/ours": lambda: audio.encode(sound),
    }


@torch.inference_mode()
def measure(timed: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for count in range(rounds + 1):
        for name, run in timed.items():
            begun = time.perf_counter()
            run()
            if count:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def report(median: dict[str, float]) -> int:
    """Print the table; 1 if a bar is missed."""
    good = True
    print(f"{'256x256 image':<16} {'VQGAN f16 s':>12} {'ours s':>8} {'faster':>8}")
    for part in ("encoder", "codes"):
        theirs, ours = median[f"{part}/vqgan-f16"], median[f"{part}/ours"]
        print(f"{part:<16} {theirs:12.3f} {ours:8.4f} {theirs / ours:7.1f}x")
        good &= theirs >= FASTER * ours
    speed = SECONDS / median["audio/ours"]
    good &= speed >= REAL_TIME
    print(f"audio: {speed:.0f} times real time")
    print(f"bars {FASTER:g}x and {REAL_TIME:g} times real time: {'met' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
