"""Published networks, stated a second time: plain functions over weights by their published names.

An oracle must not share code with what it judges, so nothing here comes from vqtok.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


class Maker:
    """Random weights under published names."""

    def __init__(self, seed: int = 0, *, gain: float = 1.0) -> None:
        self.gain = gain
        self.state: State = {}
        self.generator = torch.Generator().manual_seed(seed)

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def conv(self, name: str, inside: int, out: int, side: int, *, bias: bool = True) -> None:
        scale = self.gain * (inside * side * side) ** -0.5
        self.state[f"{name}.weight"] = self.random(out, inside, side, side) * scale
        if bias:
            self.state[f"{name}.bias"] = self.random(out) * 0.1

    def linear(self, name: str, inside: int, out: int, *, bias: bool = True) -> None:
        self.state[f"{name}.weight"] = self.random(out, inside) * inside**-0.5
        if bias:
            self.state[f"{name}.bias"] = self.random(out) * 0.1

    def norm(self, name: str, width: int) -> None:
        self.state[f"{name}.weight"] = 1 + self.random(width) * 0.1
        self.state[f"{name}.bias"] = self.random(width) * 0.1

    def res(self, name: str, inside: int, out: int) -> None:
        self.norm(f"{name}.norm1", inside)
        self.conv(f"{name}.conv1", inside, out, 3)
        self.norm(f"{name}.norm2", out)
        self.conv(f"{name}.conv2", out, out, 3)
        if inside != out:
            self.conv(f"{name}.nin_shortcut", inside, out, 1)

    def attn(self, name: str, width: int) -> None:
        self.norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{part}", width, width, 1)


def conv(s: State, name: str, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    return F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), stride, padding)


def norm(s: State, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, s[f"{name}.weight"], s[f"{name}.bias"], 1e-6)


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def res(s: State, name: str, x: Tensor) -> Tensor:
    h = conv(s, f"{name}.conv1", swish(norm(s, f"{name}.norm1", x)), padding=1)
    h = conv(s, f"{name}.conv2", swish(norm(s, f"{name}.norm2", h)), padding=1)
    if f"{name}.nin_shortcut.weight" in s:
        x = conv(s, f"{name}.nin_shortcut", x)
    return x + h


def attn(s: State, name: str, x: Tensor) -> Tensor:
    h = norm(s, f"{name}.norm", x)
    if f"{name}.qkv.weight" in s:
        q, k, v = conv(s, f"{name}.qkv", h).chunk(3, dim=1)
    else:
        q, k, v = (conv(s, f"{name}.{part}", h) for part in "qkv")
    scores = torch.einsum("bci,bcj->bij", q.flatten(2), k.flatten(2)) * q.shape[1] ** -0.5
    seen = torch.einsum("bij,bcj->bci", scores.softmax(dim=-1), v.flatten(2))
    return x + conv(s, f"{name}.proj_out", seen.reshape(x.shape))


def halved(s: State, name: str, x: Tensor) -> Tensor:
    return conv(s, name, F.pad(x, (0, 1, 0, 1)), stride=2)


def doubled(s: State, name: str, x: Tensor) -> Tensor:
    return conv(s, name, x.repeat_interleave(2, 2).repeat_interleave(2, 3), padding=1)


def closest(z: Tensor, table: Tensor) -> Tensor:
    """Codes of (B, D, h, w) by distances in float64: (B, h, w)."""
    rows = z.movedim(1, -1).double()
    return torch.cdist(rows.flatten(0, 2), table.double()).argmin(dim=1).reshape(rows.shape[:-1])
