"""A tiny model, and a search path that holds nothing but what a test puts there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vqtok.checkpoints import directory, registry
from vqtok.config import parse
from vqtok.protocols import Config

TINY = {
    "type": "tokenizers/vqvae",
    "quantizer": {"type": "quantizers/vq", "codebook_size": 16},
    "patch": 2,
    "widths": [8],
    "encoder_blocks": [1],
    "decoder_blocks": [1],
    "kernel": 3,
    "latent": 4,
}


@pytest.fixture
def tiny() -> Callable[..., Any]:
    """Build a tokenizer of fixed random weights; keywords change its config."""

    def build(seed: int = 0, **changes: Any) -> Any:
        torch.manual_seed(seed)
        return parse({**TINY, **changes}, Config).build().eval()

    return build


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the search path, empty; the current directory is elsewhere."""
    folder, elsewhere = tmp_path / "shelf", tmp_path / "cwd"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(registry, "search_path", lambda: [folder])
    return folder


@pytest.fixture
def saved(models: Path, tiny: Callable[..., Any]) -> Path:
    """A model named "tiny" on the search path."""
    directory.save(models / "tiny", tiny(), training={"steps": 3}, card="# tiny\n")
    return models / "tiny"
