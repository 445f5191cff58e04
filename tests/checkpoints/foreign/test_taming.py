"""Checkpoints as taming-transformers, latent diffusion and SEED-Voken write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.checkpoints.foreign.conftest import agrees, picture, randomised
from vqtok.checkpoints import foreign
from vqtok.errors import CheckpointError

REASON = "needs the package taming-transformers-rom1504"
network = pytest.importorskip("taming.modules.diffusionmodules.model", reason=REASON)
quantize = pytest.importorskip("taming.modules.vqvae.quantize", reason=REASON)

pytestmark = pytest.mark.outside


class Upstream(nn.Module):
    """``VQModel`` without Lightning around it: the same modules under the same names."""

    def __init__(self, *, blocks: int, dim: int = 8, gumbel: bool = False) -> None:
        super().__init__()
        sizes: dict[str, Any] = {
            "double_z": False,
            "z_channels": 8,
            "resolution": 32,
            "in_channels": 3,
            "out_ch": 3,
            "ch": 32,
            "ch_mult": (1, 1, 2),
            "num_res_blocks": blocks,
            "attn_resolutions": [8],
            "dropout": 0.0,
        }
        self.encoder, self.decoder = network.Encoder(**sizes), network.Decoder(**sizes)
        self.quant_conv = nn.Conv2d(8, dim, 1)
        self.post_quant_conv = nn.Conv2d(dim, 8, 1)
        self.quantize: Any = (
            quantize.GumbelQuantize(8, dim, 40)
            if gumbel
            else quantize.VectorQuantizer2(40, dim, beta=0.25)
        )

    def latents(self, x: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(x))

    def decode(self, z_q: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(z_q))


@pytest.fixture
def upstream() -> Upstream:
    return randomised(Upstream(blocks=2))  # type: ignore[return-value]


def saved(path: Path, model: nn.Module, **more: Any) -> Path:
    leftovers = {"loss.logvar": torch.zeros(()), "loss.discriminator.main.0.weight": torch.ones(2)}
    state = {**model.state_dict(), **leftovers}
    torch.save({"state_dict": state, "epoch": 3, "global_step": 100, **more}, path)
    return path


def expected(model: Upstream, x: Tensor) -> tuple[Tensor, Tensor]:
    quant, _, (_, _, codes) = model.quantize(model.latents(x))
    return codes, model.decode(quant)


def test_codes_and_pixels_are_those_of_taming(tmp_path: Path, upstream: Upstream):
    x = picture(32, 48)
    codes, shown = expected(upstream, x)
    agrees(saved(tmp_path / "last.ckpt", upstream), x, [codes], shown)
    match = foreign.recognise(tmp_path / "last.ckpt")
    assert match.family == "VQGAN"
    assert match.left_out == ("loss.*: 2 tensors that only training needs",)


def test_decoding_codes_is_what_upstream_does_with_them(tmp_path: Path, upstream: Upstream):
    ours: Any = foreign.open(saved(tmp_path / "model.ckpt", upstream))
    codes = torch.randint(40, (1, 4, 5), generator=torch.Generator().manual_seed(0))
    entries = upstream.quantize.get_codebook_entry(codes.flatten(), (1, 4, 5, 8))
    x = ours.render(ours.quantize.decode(codes), (16, 20))
    torch.testing.assert_close(x, upstream.decode(entries).clamp(-1, 1), atol=1e-5, rtol=0)


def test_a_latent_diffusion_directory_opens_as_unpacked(tmp_path: Path, upstream: Upstream):
    folder = tmp_path / "vq-f4"
    folder.mkdir()
    saved(folder / "model.ckpt", upstream)
    (folder / "config.yaml").write_text("model:\n  target: ldm.models.autoencoder.VQModel\n")
    x = picture(32, 32)
    codes, shown = expected(upstream, x)
    agrees(folder, x, [codes], shown)


def test_a_size_that_is_no_multiple_comes_back(tmp_path: Path, upstream: Upstream, odd: Tensor):
    ours: Any = foreign.open(saved(tmp_path / "model.ckpt", upstream))
    codes = ours.encode(odd)
    assert codes.levels[0].shape == (1, 12, 10)
    assert ours.decode(codes).shape == odd.shape
    whole = nn.functional.pad(odd, (0, 1, 0, 3), mode="replicate")
    assert torch.equal(codes.levels[0].flatten(), expected(upstream, whole)[0])


def test_gumbel_codes_are_the_largest_scores(tmp_path: Path):
    model: Any = randomised(Upstream(blocks=2, gumbel=True))
    x = picture(32, 48)
    codes = model.quantize.proj(model.latents(x)).argmax(dim=1)
    shown = model.decode(model.quantize.get_codebook_entry(codes.flatten(), (2, 8, 12, 8)))
    path = saved(tmp_path / "gumbel.ckpt", model)
    agrees(path, x, [codes], shown)
    assert foreign.recognise(path).family == "Gumbel VQGAN"


def test_ibq_codes_are_the_largest_products_of_the_averaged_weights(tmp_path: Path):
    model: Any = randomised(Upstream(blocks=4))
    averaged: Any = randomised(Upstream(blocks=4), seed=5)
    shadow = {f"model_ema.{k.replace('.', '')}": v for k, v in averaged.state_dict().items()}
    state = {**model.state_dict(), **shadow, "model_ema.decay": torch.tensor(0.999)}
    torch.save({"state_dict": state}, tmp_path / "ibq.ckpt")
    x = picture(32, 32)
    z, table = averaged.latents(x), averaged.quantize.embedding.weight
    codes = torch.einsum("bdhw,kd->bkhw", z, table).argmax(dim=1)
    shown = averaged.decode(table[codes].movedim(-1, 1))
    # On one thread upstream itself is more than 1e-5 from its own float64 here: so may we be.
    exact = averaged.double().decode(averaged.quantize.embedding.weight[codes].movedim(-1, 1))
    rounding = float((shown - exact).abs().max())
    agrees(tmp_path / "ibq.ckpt", x, [codes], exact.float(), within=max(1e-5, 2 * rounding))
    assert foreign.recognise(tmp_path / "ibq.ckpt").family == "IBQ"


def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, upstream: Upstream):
    state = {f"module.{name}": tensor for name, tensor in upstream.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "ddp.ckpt")
    x = picture(32, 32)
    codes, shown = expected(upstream, x)
    agrees(tmp_path / "ddp.ckpt", x, [codes], shown)


def test_sizes_that_cannot_be_are_an_error_of_the_file(tmp_path: Path):
    names = ["encoder.conv_in", "encoder.down.0.block.0.conv1", "decoder.up.0.block.0.conv1",
             "encoder.mid.block_1.conv1", "quant_conv", "post_quant_conv", "encoder.conv_out",
             "decoder.conv_in"]  # fmt: skip
    state = {f"{name}.weight": torch.ones(48, 48, 1, 1) for name in names}
    torch.save(state | {"quantize.embedding.weight": torch.ones(8, 4)}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="multiples of 32"):
        foreign.open(tmp_path / "x.ckpt")


def test_a_directory_with_a_yaml_beside_its_checkpoint_is_read_as_emu_has_it(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("n_embed: 131072\n")
    torch.save(randomised(Upstream(blocks=4)).state_dict(), tmp_path / "model.ckpt")
    assert foreign.recognise(tmp_path).family == "IBQ"
