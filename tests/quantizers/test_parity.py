"""The same answers as vector-quantize-pytorch, where it does the same thing."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
import torch

from vqtok.nn.gradients import rotate
from vqtok.quantizers import bsq, fsq, grouped, lfq, rvq, vq

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    theirs: Any = pytest.importorskip("vector_quantize_pytorch")


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (8, 8, 5, 5, 5), (7, 4, 3)])
def test_fsq_has_the_same_codes_and_values(levels: tuple[int, ...]) -> None:
    ours = fsq.Config(levels).build(dim=len(levels))
    other = theirs.FSQ(list(levels))
    z = gaussian(4, len(levels), 6, 6) * 2
    with torch.no_grad():
        values, codes = other(z)
        every = other.indices_to_codes(torch.arange(ours.codebook_size)[None])
    out = ours(z)
    torch.testing.assert_close(out.z_q, values)
    assert torch.equal(out.codes, codes.long())
    decoded = ours.decode(torch.arange(ours.codebook_size)[None]).movedim(1, -1)
    torch.testing.assert_close(decoded, every.reshape(decoded.shape))


@pytest.mark.parametrize("size", [3, 4, 5, 8])
def test_fsq_changes_level_at_the_same_places(size: int) -> None:
    z = torch.linspace(-4, 4, 20_001).reshape(1, 1, -1)
    with torch.no_grad():
        _, codes = theirs.FSQ([size])(z.movedim(1, -1))
    assert torch.equal(fsq.Config((size,)).build(dim=1)(z).codes, codes.long())


@pytest.mark.parametrize("cosine", [False, True])
def test_vq_has_the_same_codes_and_values(cosine: bool) -> None:
    other = theirs.VectorQuantize(
        dim=6, codebook_size=50, use_cosine_sim=cosine, accept_image_fmap=True
    ).eval()
    ours = vq.Config(codebook_size=50, cosine=cosine).build(dim=6).eval()
    ours.codebook.entries.copy_(other._codebook.embed[0])
    z = gaussian(4, 6, 7, 7)
    with torch.no_grad():
        values, codes, _ = other(z)
    assert torch.equal(ours(z).codes, codes)
    torch.testing.assert_close(ours(z).z_q, values)


def test_rvq_has_the_same_codes_and_values() -> None:
    other = theirs.ResidualVQ(dim=6, codebook_size=50, num_quantizers=4).eval()
    ours = rvq.Config(codebook_size=50, depth=4).build(dim=6).eval()
    for stage, layer in zip(ours.stages, other.layers, strict=True):
        stage.entries.copy_(layer._codebook.embed[0])
    z = gaussian(4, 6, 7)
    with torch.no_grad():
        values, codes, _ = other(z.movedim(1, -1))
    out = ours(z)
    assert torch.equal(out.codes.movedim(1, -1), codes)
    torch.testing.assert_close(out.z_q.movedim(1, -1), values)


@pytest.mark.parametrize(("method", "spherical"), [(lfq.Config, False), (bsq.Config, True)])
def test_signs_have_the_same_values_codes_and_losses(
    method: type[lfq.Config], spherical: bool
) -> None:
    other = theirs.LFQ(
        dim=7, codebook_size=128, spherical=spherical, commitment_loss_weight=0.25
    ).train()
    ours = method(bits=7, entropy=0.1, temperature=0.5, commitment=0.25, group=7).build(dim=7)
    z = gaussian(4, 7, 6, 6) / 2
    values, codes, loss = other(z, inv_temperature=1 / 0.5)
    out = ours(z)
    torch.testing.assert_close(out.z_q, values)
    # Their first bit is the slowest.
    digits = out.codes[..., None] >> torch.arange(7) & 1
    assert torch.equal((digits << torch.arange(6, -1, -1)).sum(-1), codes.long())
    torch.testing.assert_close(out.loss, loss, rtol=1e-4, atol=1e-5)


def test_grouped_rvq_has_the_same_codes_and_values() -> None:
    other = theirs.GroupedResidualVQ(dim=8, groups=2, codebook_size=50, num_quantizers=3).eval()
    ours = grouped.Config(rvq.Config(codebook_size=50, depth=3)).build(dim=8).eval()
    for part, theirs_part in zip(ours.parts, other.rvqs, strict=True):
        for stage, layer in zip(part.stages, theirs_part.layers, strict=True):
            stage.entries.copy_(layer._codebook.embed[0])
    z = gaussian(4, 8, 7)
    with torch.no_grad():
        values, codes, _ = other(z.movedim(1, -1))  # codes (G, B, T, Q)
    out = ours(z)
    torch.testing.assert_close(out.z_q.movedim(1, -1), values)
    assert torch.equal(out.codes, codes.permute(1, 3, 0, 2).flatten(1, 2))


def test_the_rotation_trick_has_the_same_values_and_gradients() -> None:
    rotate_to = importlib.import_module("vector_quantize_pytorch.vector_quantize_pytorch").rotate_to
    z, z_q, weight = (gaussian(40, 9, seed=seed) for seed in range(3))
    z.requires_grad_()
    ours, other = rotate(z, z_q), rotate_to(z, z_q)
    torch.testing.assert_close(ours, other)
    (found,) = torch.autograd.grad((ours * weight).sum(), z)
    (wanted,) = torch.autograd.grad((other * weight).sum(), z)
    torch.testing.assert_close(found, wanted)
