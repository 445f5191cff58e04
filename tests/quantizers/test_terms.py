"""What a loss is made of, method by method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vqtok.quantizers import bsq, fsq, grouped, gumbel, lfq, rvq, simvq, vq


def latents() -> Tensor:
    return torch.randn(2, 6, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (vq.Config(20), {"commitment"}),  # moving averages take no loss
        (vq.Config(20, ema=False), {"commitment", "codebook"}),
        (simvq.Config(20), {"commitment", "codebook"}),
        (rvq.Config(2, 20), {"commitment"}),
        (rvq.Config(2, 20, ema=False), {"commitment", "codebook"}),
        (fsq.Config(), {"entropy"}),
        (fsq.Config(diversity=0.0), set()),
        (lfq.Config(4), {"entropy", "commitment"}),
        (bsq.Config(4), {"entropy"}),
        (gumbel.Config(20), {"kl"}),
        (grouped.Config(vq.Config(20, ema=False)), {"commitment", "codebook"}),
    ],
)
def test_terms_are_named_after_what_they_do(made: Any, names: set[str]) -> None:
    assert set(made.build(dim=6).eval()(latents()).terms) == names


@pytest.mark.parametrize("commitment", [0.25, 1.0])
def test_commitment_and_codebook_weigh_one_distance(commitment: float) -> None:
    quantizer = vq.Config(20, ema=False, commitment=commitment).build(dim=6).eval()
    z = latents()
    out = quantizer(z)
    distance = F.mse_loss(z, out.z_q).detach()
    torch.testing.assert_close(out.terms["commitment"], commitment * distance)
    torch.testing.assert_close(out.terms["codebook"], distance)


def test_no_term_while_latents_pass_unquantized() -> None:
    out = vq.Config(20, warmup=5).build(dim=6).train()(latents())
    assert not out.terms and float(out.loss) == 0
