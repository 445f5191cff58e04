"""The number format of a step: autocast, and loss scaling where float16 needs it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """How networks compute; quantizers and losses stay in float32.

    Args:
        name: "auto", or one of ``DTYPES``; "auto" is bfloat16 where the device multiplies it
            natively.
        device: Where the model is.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.device = device
        self.dtype = _native(device) if name == "auto" else DTYPES[name]
        self.name = str(self.dtype).removeprefix("torch.")
        # float16 reaches down to 6e-8 only: gradients are scaled up, then down again.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    def autocast(self) -> AbstractContextManager[object]:
        """The context that networks run in."""
        return torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        )

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, scaled."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it so

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Give an optimizer's gradients their own size."""
        self.scaler.unscale_(optimizer)

    def step(self, *optimizers: torch.optim.Optimizer, apply: bool) -> None:
        """Let the optimizers step, or not, and adapt the scale for the next step."""
        for optimizer in optimizers:
            if apply:
                self.scaler.step(optimizer)
        self.scaler.update()

    @property
    def searching(self) -> bool:
        """Whether the scale is still falling from its high start, for which steps are skipped."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1.0

    def state(self) -> dict[str, float]:
        """JSON data for ``restore``; {} without a scale."""
        state: dict[str, float] = self.scaler.state_dict()
        return state

    def restore(self, state: dict[str, float]) -> None:
        """Go on with a saved scale."""
        if self.scaler.is_enabled():
            own = self.scaler.state_dict()
            self.scaler.load_state_dict({key: state.get(key, own[key]) for key in own})


def _native(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32
