from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqtok import config
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Prior

IMAGE = CodeSpec("image", (LevelSpec("codes", ("h", "w"), 7, (4, 4)),))
STACK = CodeSpec("audio", (LevelSpec("codes", ("q", "t"), 6, (80,), depth=3),), rate=8000.0)
STACKED_IMAGE = CodeSpec("image", (LevelSpec("codes", ("q", "h", "w"), 5, (4, 4), depth=2),))
PAIR = CodeSpec(
    "image",
    (LevelSpec("top", ("h", "w"), 6, (8, 8)), LevelSpec("bottom", ("h", "w"), 9, (4, 4))),
)
TRIPLE = CodeSpec("image", (LevelSpec("middle", ("h", "w"), 4, (12, 12)), *PAIR.levels))
TOKENS = CodeSpec("image", (LevelSpec("codes", ("n",), 11, (), depth=10),))
SNAC = CodeSpec(
    "audio", (LevelSpec("a", ("t",), 5, (160,)), LevelSpec("b", ("t",), 8, (80,))), rate=8000.0
)
STACKS = CodeSpec(
    "audio",
    (
        LevelSpec("top", ("q", "t"), 5, (160,), depth=2),
        LevelSpec("bottom", ("t", "q"), 4, (80,), depth=3),
    ),
    rate=8000.0,
)

EXTENTS = {
    IMAGE: (14, 18),
    STACK: (500,),
    STACKED_IMAGE: (9, 13),
    PAIR: (13, 18),
    TOKENS: (64, 64),
    SNAC: (700,),
    TRIPLE: (13, 18),
    STACKS: (390,),
}
"""A signal's size for each spec, small and of no round numbers."""

SMALL: dict[str, dict[str, Any]] = {
    "transformer": {"width": 16, "blocks": 2, "heads": 2, "dropout": 0.2},
    "pixelcnn": {"width": 16, "layers": 5, "kernel": 5, "attention": 0, "heads": 2},
    "hierarchical": {},
}
"""Sizes for tests."""

TRANSFORMER = {"type": "priors/transformer"} | SMALL["transformer"]
DELAYED = TRANSFORMER | {"pattern": "delay", "depth": 2}
PIXELCNN = {"type": "priors/pixelcnn"} | SMALL["pixelcnn"]

VARIANTS: list[tuple[str, dict[str, Any], CodeSpec]] = [
    *(("transformer", {}, spec) for spec in EXTENTS),
    *(
        ("transformer", {"pattern": pattern}, spec)
        for pattern in ("delay", "parallel")
        for spec in (STACK, STACKED_IMAGE, PAIR)
    ),
    ("transformer", {"depth": 2, "pattern": "delay"}, STACK),
    ("transformer", {"absolute": False}, SNAC),
    ("pixelcnn", {}, IMAGE),
    ("pixelcnn", {"attention": 2, "layers": 3, "kernel": 3}, IMAGE),
    ("hierarchical", {"top": TRANSFORMER, "finer": PIXELCNN}, PAIR),
    ("hierarchical", {"top": PIXELCNN | {"attention": 2}, "finer": TRANSFORMER}, TRIPLE),
    ("hierarchical", {"top": TRANSFORMER, "finer": TRANSFORMER}, SNAC),
    ("hierarchical", {"top": DELAYED, "finer": DELAYED | {"pattern": "parallel"}}, STACKS),
]
"""Every prior on every kind of codes that it can model."""

NAMES = [f"{name}{number}" for number, (name, _, _) in enumerate(VARIANTS)]

CLASSES = ("ant", "bee", "cow")


def make(name: str, given: dict[str, Any], spec: CodeSpec, *, classes: bool = True) -> Prior:
    """A prior with weights large enough to tell its inputs apart."""
    torch.manual_seed(0)
    data: dict[str, Any] = {"type": f"priors/{name}"} | SMALL[name] | given
    if classes:
        data["classes"] = list(CLASSES)
    made = config.parse(data, config.Config).build(spec=spec).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.2 * torch.randn_like(weight)
    prior: Prior = made
    return prior


def some_codes(prior: Prior, batch: int, *, seed: int = 0) -> Codes:
    """Random codes of what the prior models."""
    generator = torch.Generator().manual_seed(seed)
    extent = EXTENTS[prior.spec]
    depth = getattr(prior, "depth", None)
    levels = tuple(
        torch.randint(
            level.codebook_size, (batch, *level.shape(extent, depth=depth)), generator=generator
        )
        for level in prior.spec.levels
    )
    return Codes(prior.spec, levels, extent)


def flat_of(codes: Codes) -> Tensor:
    return torch.cat([torch.as_tensor(level).flatten(1) for level in codes.levels], dim=1)
