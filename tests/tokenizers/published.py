"""Tiny models of the published audio architectures, with weights that use every codebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from vqtok.tokenizers.published import dac, encodec, mimi

ENCODEC: dict[str, Any] = {
    "num_quantizers": 5,
    "sampling_rate": 800,
    "hidden_size": 8,
    "num_filters": 4,
    "upsampling_ratios": (4, 2),
    "codebook_size": 16,
}
DAC: dict[str, Any] = {
    "encoder_hidden_size": 4,
    "downsampling_ratios": (2, 5),
    "decoder_hidden_size": 16,
    "n_codebooks": 3,
    "codebook_size": 16,
    "codebook_dim": 4,
    "sampling_rate": 800,
}
MIMI: dict[str, Any] = {
    "sampling_rate": 800,
    "frame_rate": 50.0,
    "hidden_size": 16,
    "num_filters": 4,
    "upsampling_ratios": (4, 2),
    "codebook_size": 16,
    "codebook_dim": 8,
    "num_quantizers": 4,
    "vector_quantization_hidden_dimension": 8,
    "upsample_groups": 16,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "sliding_window": 10,
}

TINY: dict[str, Callable[[], Any]] = {
    "encodec": lambda: encodec.Config(**ENCODEC).build(),
    "dac": lambda: dac.Config(**DAC).build(),
    "mimi": lambda: mimi.Config(**MIMI).build(),
}


def tiny(name: str) -> Any:
    """A model whose codebooks lie where its latents are, so that codes vary."""
    torch.manual_seed(0)
    model = TINY[name]().eval().requires_grad_(False)
    lively(model)
    return model


def lively(network: torch.nn.Module) -> None:
    """Weights that let signals through, and codebooks whose entries differ."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for each in network.modules():
            if isinstance(each, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
                each.weight.normal_(0, each.weight[0].numel() ** -0.5)
            elif isinstance(each, torch.nn.Embedding):
                each.weight.normal_(0, 0.3)
        for name, buffer in network.named_buffers():
            last = name.rpartition(".")[2]
            if last in ("embed", "embed_sum"):
                buffer.normal_(0, 0.1 if last == "embed" else 0.4)
            elif last == "cluster_usage":
                buffer.uniform_(0.5, 2.0)


def sound(length: int, *, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, 1, length, generator=generator) * 0.3
