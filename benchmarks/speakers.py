"""Judges of who speaks: small networks over log-mel spectra, trained on real speech alone.

They hear up to 8 kHz, so that the bandwidth of a recording tells them nothing, and each clip at one
loudness. One hears the spectrum as it is; the stricter one without each band's mean over the clip:
what the microphone and the long-term colour of a voice are, it does not know.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.metrics.mel import spectrogram

HZ = 24000
WINDOW = 1024
BINS = 96
"""Mel filters up to 12 kHz."""
HEARD = 84
"""Those of them that end below 8 kHz."""
QUIET = 1e-2
"""Magnitudes below it count as it: 40 dB below the mean, where a recording tells of its room."""
CROP = 188
"""Frames of a training item: 2 s."""
WIDTH = 96


class Judge(nn.Module):
    """Log-mel spectra → logits of speakers.

    Args:
        speakers: Their number.
        level: Whether it hears each band's mean.
    """

    def __init__(self, speakers: int, *, level: bool) -> None:
        super().__init__()
        self.level = level
        sizes = [HEARD, WIDTH, WIDTH, WIDTH]
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, 5, stride=2) for a, b in itertools.pairwise(sizes)
        )
        self.last = nn.Linear(2 * WIDTH, speakers)

    def forward(self, heard: Tensor) -> Tensor:
        """(B, HEARD, T) → (B, speakers), T ≥ 29."""
        x = heard if self.level else heard - heard.mean(dim=2, keepdim=True)
        for layer in self.layers:
            x = F.gelu(layer(x))
        logits: Tensor = self.last(torch.cat([x.mean(dim=2), x.std(dim=2)], dim=1))
        return logits


def hear(samples: Tensor) -> Tensor:
    """(L,) samples at 24 kHz → (HEARD, T) log10 magnitudes, about 0 in the mean of loud frames."""
    loud = samples / samples.square().mean().sqrt().clamp(min=1e-5)
    mel = spectrogram(loud[None], rate=HZ, window=WINDOW, bins=BINS)[0, :HEARD]
    return mel.clamp(min=QUIET).log10()


def train(
    spectra: Sequence[Tensor], numbers: Sequence[int], *, level: bool, steps: int, seed: int
) -> Judge:
    """Train a judge on crops of clips; every speaker is drawn as often.

    Args:
        spectra: ``hear`` of each clip.
        numbers: Of their speakers, from 0.
        level: See ``Judge``.
        steps: Batches of 32.
        seed: Of weights and draws.
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    speakers = max(numbers) + 1
    clips = [[i for i, each in enumerate(numbers) if each == who] for who in range(speakers)]
    judge = Judge(speakers, level=level).train()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        who = torch.randint(speakers, (32,), generator=rng)
        crops = [_crop(spectra[_pick(clips[int(each)], rng)], rng) for each in who]
        loss = F.cross_entropy(judge(torch.stack(crops)), who, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


@torch.inference_mode()
def verdict(judge: Judge, spectrum: Tensor) -> int:
    """The speaker of a whole clip."""
    return int(judge(spectrum[None]).argmax())


def _pick(among: Sequence[int], rng: torch.Generator) -> int:
    return among[int(torch.randint(len(among), (), generator=rng))]


def _crop(spectrum: Tensor, rng: torch.Generator) -> Tensor:
    """``CROP`` frames; a shorter clip is repeated."""
    spectrum = spectrum.repeat(1, -(-CROP // spectrum.shape[1]))
    start = int(torch.randint(spectrum.shape[1] - CROP + 1, (), generator=rng))
    return spectrum[:, start : start + CROP]
