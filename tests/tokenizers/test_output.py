"""What a decoder's numbers mean: the same pixels in training, from codes, and in tiles."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizers.test_vqvae import SMALL, picture
from vqtok import config
from vqtok.errors import ConfigError
from vqtok.nn.outputs import Output, entering, pixels
from vqtok.protocols import Config
from vqtok.tokenizers import vqvae
from vqtok.tokenizers.exact import tiling2d

OUTPUTS = get_args(Output)


def build(output: str, network: str = "strided") -> vqvae.VQVAE:
    torch.manual_seed(0)
    data: dict[str, Any] = {"type": "tokenizers/vqvae", "network": network, "kernel": 3}
    data |= SMALL[network] | {"latent": 4, "output": output}
    data["quantizer"] = {"type": "quantizers/fsq", "levels": [5, 4]}
    model: vqvae.VQVAE = config.parse(data, Config).build().eval()
    return model


@pytest.mark.parametrize("network", ["convnext", "strided"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_codes_and_pixels_are_those_of_a_forward_call_also_in_tiles(
    output: str, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(output, network)
    x = picture(61, 50, batch=2)
    result = model(x)
    whole = model.encode(x)
    monkeypatch.setattr(tiling2d, "TILE", 16)
    codes = model.encode(x)
    assert torch.equal(codes.levels[0], whole.levels[0])
    assert torch.equal(codes.levels[0], result.codes.levels[0])
    seen = model.encode_windows((61, 50), lambda rows, columns: x[0, :, rows, columns])
    assert (seen.levels[0] == codes.levels[0][:1].numpy()).all()
    y = model.decode(codes)
    torch.testing.assert_close(y, result.x.detach().clamp(-1, 1), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("output", "count"), [("logits", 3), ("logit-laplace", 6)])
def test_raw_numbers_are_handed_on_and_make_the_pixels(output: Any, count: int) -> None:
    result = build(output)(picture(9, 7, batch=2))
    assert result.raw is not None and result.raw.shape == (2, count, 9, 7)
    assert torch.equal(pixels(result.raw, output), result.x)


def test_plain_pixels_have_nothing_behind_them() -> None:
    assert build("plain")(picture(9, 7)).raw is None


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40))
def test_map_pixels_is_that_of_the_paper_and_is_undone(values: list[float]) -> None:
    x = torch.tensor(values).view(1, 1, 1, -1)
    mapped = entering(x, "logit-laplace")
    # 2102.12092, appendix A.3: phi(x) = (1 - 2 eps) / 255 · x + eps of x in [0, 255], eps = 0.1
    paper = 0.8 / 255 * ((x.double() + 1) * 127.5) + 0.1
    torch.testing.assert_close(mapped.double(), paper, atol=1e-7, rtol=0)
    raw = torch.cat([mapped.logit(), torch.zeros_like(x)], dim=1)
    torch.testing.assert_close(pixels(raw, "logit-laplace"), x, atol=2e-6, rtol=0)


@given(st.floats(-200, 200, width=32))
def test_logits_give_pixels_in_range(logit: float) -> None:
    found = float(pixels(torch.full((1, 1, 1, 1), logit), "logits"))
    assert -1.0 <= found <= 1.0
    assert (found > 0) == (logit > 1e-6) or abs(logit) < 1e-6


@pytest.mark.parametrize("output", ["plain", "logits"])
def test_only_logit_laplace_maps_what_the_encoder_sees(output: Any) -> None:
    x = picture(3, 3)
    assert torch.equal(entering(x, output), x)


def test_another_output_is_refused() -> None:
    with pytest.raises(ConfigError, match="output"):
        build("softmax")
