"""The same answers as vector-quantize-pytorch, where it does the same thing."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from vqtok.quantizers import fsq, rvq, vq

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
