"""Which optimizer steps which weights of a model: Muon the matrices, AdamW all else."""

from __future__ import annotations

import torch
from torch import nn

from vqtok.training.recipe import Train

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
        made["muon"] = torch.optim.Muon(
            matrices.values(),
            lr=plan.learning_rate * plan.matrix_rate,
            weight_decay=plan.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
    return made


def peaks_of(plan: Train) -> dict[str, float]:
    """Peak learning rate of each optimizer of a run."""
    peaks = {"optimizer": plan.learning_rate, "muon": plan.learning_rate * plan.matrix_rate}
    if plan.adversarial is not None:
        peaks["critic"] = plan.adversarial.learning_rate
    return peaks


def _matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of linear layers outside the quantizer, by name."""
    linear = [f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    parameters = dict(model.named_parameters())
    return {name: parameters[name] for name in linear if not name.startswith(QUANTIZER)}
