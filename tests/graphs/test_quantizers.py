"""Quantizers in numpy give the codes, the near ties and the latents of those in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.quantizers.conftest import VARIANTS, built, latents
from vqtok import config
from vqtok.errors import CheckpointError
from vqtok.graphs.quantizers import Weights, build


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_codes_and_latents_are_those_of_torch(
    name: str, settings: dict[str, Any], dtype: torch.dtype
):
    torch.manual_seed(3)
    quantizer: Any = built(name, settings).eval()
    arrays = {key: each.numpy() for key, each in quantizer.state_dict().items()}
    ours = build(config.dump(quantizer.config), Weights(arrays, ""))
    z = latents(3, 11, 7, seed=1).to(dtype)
    rows = z.movedim(1, -1).reshape(-1, z.shape[1]).numpy()
    for tolerance in (0.0, 1e-3):
        theirs = quantizer.assign(z, tolerance=tolerance)
        found = ours.assign(rows, tolerance=tolerance, threads=2)
        stacked = quantizer.depth is not None
        assert ours.stacked == stacked
        codes = theirs.codes.movedim(1, 0) if stacked else theirs.codes
        np.testing.assert_array_equal(found.codes, codes.reshape(found.codes.shape).numpy())
        near = theirs.near_tie.flatten().numpy()
        # A bound that is rounded differently may mark another row, one in thousands.
        assert (found.near_tie != near).mean() < 0.01
    quantizer.requires_grad_(False)
    decoded = quantizer.decode(theirs.codes).movedim(1, -1).reshape(len(rows), -1)
    np.testing.assert_allclose(ours.decode(found.codes), decoded.numpy(), atol=1e-6)
    if stacked:
        fewer = quantizer.decode(theirs.codes[:, :1]).movedim(1, -1).reshape(len(rows), -1)
        np.testing.assert_allclose(ours.decode(found.codes[:1]), fewer.numpy(), atol=1e-6)


def test_unknown_quantizers_and_missing_weights_are_refused():
    with pytest.raises(CheckpointError, match="only torch has it"):
        build({"type": "quantizers/new"}, Weights({}, ""))
    with pytest.raises(CheckpointError, match=r"missing: codebook\.entries"):
        build({"type": "quantizers/vq"}, Weights({}, ""))
