"""What every published audio codec is held to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqtok.checkpoints import directory, foreign
from vqtok.codes.container import Codes


def agrees(
    path: Path,
    x: Tensor,
    levels: list[Tensor],
    heard: Tensor,
    *,
    family: str,
    within: float = 1e-5,
) -> Any:
    """Hold a checkpoint to upstream: codes element for element, samples within 1e-5.

    And the same of what ``save`` makes of it, under the same fingerprint.

    Args:
        path: The checkpoint.
        x: (B, 1, L).
        levels: Upstream's codes of each level.
        heard: What upstream decodes them to, (B, 1, L).
        family: What it is to be recognised as.
        within: How far samples may be apart.

    Returns:
        The tokenizer.
    """
    assert foreign.recognise(path).family == family
    ours: Any = directory.load(path)
    converted = path.parent / f"{path.stem}-converted"
    directory.save(converted, ours)
    again: Any = directory.load(converted)
    assert again.spec == ours.spec
    assert foreign.describe(path).fingerprint == directory.describe(converted).fingerprint
    for model in (ours, again):
        codes = model.encode(x).check()
        assert len(codes.levels) == len(levels)
        for mine, theirs in zip(codes.levels, levels, strict=True):
            assert torch.equal(mine, theirs.reshape(mine.shape))
            assert len(mine.unique()) > 1, "a test on one code would show nothing"
        assert len(codes.levels[-1].unique()) > 3
        decoded = model.decode(codes)
        assert decoded.shape == x.shape
        assert heard.abs().max() > 100 * within, "silence would agree with anything"
        torch.testing.assert_close(decoded, heard, atol=within, rtol=0)
        given = model.decode(Codes(model.spec, tuple(levels), codes.extent))
        assert torch.equal(given, decoded)
    return ours
