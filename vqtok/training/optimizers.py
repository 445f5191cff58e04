"""Which optimizer steps which weights, Muon the matrices and AdamW all else; and how fast."""

from __future__ import annotations

import math

import torch
from torch import nn

from vqtok.training.muon import Muon
from vqtok.training.recipe import Adversarial, Train

QUANTIZER = "quantizer."
"""Where a tokenizer keeps its codebooks: they neither decay nor go to Muon."""


def optimizers_of(model: nn.Module, plan: Train) -> dict[str, torch.optim.Optimizer]:
    """Make the optimizers of a model's weights, by the names under which their state is saved.

    "optimizer" is AdamW (Loshchilov & Hutter 2019, 1711.05101): weights of two axes or more decay,
    norms, biases and the quantizer do not. With ``plan.optimizer`` "muon" the matrices of linear
    layers, which are most of our networks, go to "muon" instead (Jordan et al. 2024), its steps as
    large as AdamW's (Liu et al. 2025, 2502.16982, section 2.2). Convolutions, depthwise kernels,
    embeddings, norms, biases and the quantizer stay with AdamW.
    """
    matrices = {} if plan.optimizer == "adamw" else _matrices(model)
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if name not in matrices:
            decays = parameter.ndim > 1 and not name.startswith(QUANTIZER)
            (decayed if decays else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": plan.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    made: dict[str, torch.optim.Optimizer] = {
        "optimizer": torch.optim.AdamW(groups, lr=plan.learning_rate, betas=plan.betas, fused=True)
    }
    if matrices:
        made["muon"] = Muon(
            matrices.values(),
            lr=plan.learning_rate * plan.matrix_rate,
            weight_decay=plan.weight_decay,
        )
    return made


def discriminator_optimizer(discriminator: nn.Module, plan: Adversarial) -> torch.optim.Optimizer:
    """Make the discriminator's AdamW; nothing decays."""
    return torch.optim.AdamW(
        discriminator.parameters(),
        lr=plan.learning_rate,
        betas=plan.betas,
        weight_decay=0.0,
        fused=True,
    )


def peaks_of(plan: Train) -> dict[str, float]:
    """Return the peak learning rate of each optimizer of a run."""
    peaks = {"optimizer": plan.learning_rate, "muon": plan.learning_rate * plan.matrix_rate}
    if plan.adversarial is not None:
        peaks["critic"] = plan.adversarial.learning_rate
    return peaks


def _matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Find the weights of linear layers outside the quantizer, by name."""
    linear = [f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    parameters = dict(model.named_parameters())
    return {name: parameters[name] for name in linear if not name.startswith(QUANTIZER)}


def learning_rate(plan: Train, *, step: int, progress: float) -> float:
    """Rise linearly over the warm-up, then fall to ``final_rate`` of the peak as planned.

    "cosine" is half a cosine over the whole run (Loshchilov & Hutter 2017, 1608.03983, without
    restarts); "constant" stays at the peak and falls linearly over the last ``decay`` of the run.

    Args:
        plan: Peak, warm-up and form.
        step: Steps done so far.
        progress: Share of the run that is done, 0 … 1: steps or minutes, whichever is further.
    """
    rise = min(1.0, (step + 1) / max(1, plan.warmup))
    done = min(1.0, progress)
    if plan.schedule == "cosine":
        left = 0.5 * (1.0 + math.cos(math.pi * done))
    else:
        left = min(1.0, (1.0 - done) / plan.decay) if plan.decay > 0 else 1.0
    return plan.learning_rate * rise * (plan.final_rate + (1.0 - plan.final_rate) * left)
