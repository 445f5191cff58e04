"""Muon: momentum whose steps are made orthogonal by Newton-Schulz iterations (Jordan et al. 2024).

``torch.optim.Muon`` iterates in bfloat16. A CPU without instructions for it emulates them, some 30
times slower than float32, so here the type is chosen; state and steps are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """Steps matrices as ``torch.optim.Muon`` with ``adjust_lr_fn="match_rms_adamw"`` does."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step every matrix that has a gradient; return the closure's loss.

        The step is as large as AdamW's (Liu et al. 2025, 2502.16982, section 2.2).
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                mean: Tensor = state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(mean, group["momentum"])  # Nesterov's
                rate = group["lr"] * 0.2 * math.sqrt(max(matrix.shape))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                update = orthogonal(
                    ahead, group["ns_coefficients"], group["ns_steps"], eps=group["eps"]
                )
                matrix.add_(update, alpha=-rate)
        return loss


def orthogonal(
    matrix: Tensor, coefficients: tuple[float, float, float], steps: int, *, eps: float
) -> Tensor:
    """Iterates X ← aX + (bXXᵀ + c(XXᵀ)²)X, so that singular values come near 1, in 0.5 … 1.5.

    Args:
        matrix: (m, n); a copy is divided by its norm, at least ``eps``, first.
        coefficients: a, b, c.
        steps: Iterations.
        eps: The least norm.

    Returns:
        (m, n), of the iteration's type: bfloat16 where that is fast, else float32.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(native_dtype(matrix.device))
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def native_dtype(device: torch.device) -> torch.dtype:
    """Chooses bfloat16 where the device has instructions for it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32
