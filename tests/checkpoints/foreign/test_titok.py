"""TiTok's tokenizers against a second statement of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.checkpoints.foreign import test_maskgit as maskgit
from tests.checkpoints.foreign.conftest import agrees, picture
from tests.checkpoints.foreign.published import Maker, State, closest, conv
from vqtok.checkpoints import foreign
from vqtok.errors import CheckpointError

TOKENS, SIZE, DIM, SIDE, PATCH = 6, 40, 5, 16, 4
WIDTH, LAYERS, DECODER_WIDTH, DECODER_LAYERS = 128, 2, 64, 3
PIXEL_SIZE = 30


def transformer(m: Maker, part: str, width: int, layers: int, patch: int) -> None:
    for name, count in (
        ("class_embedding", 1),
        ("positional_embedding", (SIDE // patch) ** 2 + 1),
        ("latent_token_positional_embedding", TOKENS),
    ):
        m.state[f"{part}.{name}"] = m.random(count, width)
    m.norm(f"{part}.ln_pre", width)
    m.norm(f"{part}.ln_post", width)
    for i in range(layers):
        name = f"{part}.transformer.{i}"
        m.norm(f"{name}.ln_1", width)
        m.linear("in", width, 3 * width)
        for kind in ("weight", "bias"):
            m.state[f"{name}.attn.in_proj_{kind}"] = m.state.pop(f"in.{kind}") * 2
        m.linear(f"{name}.attn.out_proj", width, width)
        m.norm(f"{name}.ln_2", width)
        m.linear(f"{name}.mlp.c_fc", width, 4 * width)
        m.linear(f"{name}.mlp.c_proj", 4 * width, width)


def made(*, mixes: bool, decoder_patch: int = PATCH, vae: bool = False) -> State:
    m = Maker()
    m.state["latent_tokens"] = m.random(TOKENS, WIDTH)
    m.conv("encoder.patch_embed", 3, WIDTH, PATCH)
    transformer(m, "encoder", WIDTH, LAYERS, PATCH)
    m.conv("encoder.conv_out", WIDTH, DIM * (2 if vae else 1), 1)
    transformer(m, "decoder", DECODER_WIDTH, DECODER_LAYERS, decoder_patch)
    m.state["decoder.mask_token"] = m.random(1, 1, DECODER_WIDTH)
    m.linear("decoder.decoder_embed", DIM, DECODER_WIDTH)
    if not vae:
        m.state["quantize.embedding.weight"] = m.random(SIZE, DIM)
    if mixes:
        m.conv("decoder.ffn.0", DECODER_WIDTH, 2 * DECODER_WIDTH, 1)
        m.conv("decoder.ffn.2", 2 * DECODER_WIDTH, PIXEL_SIZE, 1)
        m.state["decoder.ffn.2.weight"] *= 4  # probabilities that differ
        m.state["pixel_quantize.embedding.weight"] = m.random(PIXEL_SIZE, maskgit.DIM)
        maskgit.decoder(m, "pixel_decoder")
    else:
        m.conv("decoder.ffn.0", DECODER_WIDTH, 3 * decoder_patch**2, 1)
        m.conv("decoder.conv_out", 3, 3, 3)
        m.state["decoder.conv_out.weight"] *= 0.3
        m.state["decoder.conv_out.bias"] += 0.5
    return m.state


def settings(*, mixes: bool, l2: bool, decoder_patch: int = PATCH) -> dict[str, Any]:
    """``config.json`` as its hub mixin writes it."""
    keys = {
        "codebook_size": SIZE, "token_size": DIM, "use_l2_norm": l2, "commitment_cost": 0.25,
        "vit_enc_model_size": "base", "vit_dec_model_size": "small",
        "vit_enc_patch_size": PATCH, "vit_dec_patch_size": decoder_patch,
        "num_latent_tokens": TOKENS, "finetune_decoder": mixes,
    }  # fmt: skip
    if not mixes:
        keys |= {"quantize_mode": "vq", "is_legacy": False}
    return {"model": {"vq_model": keys}, "dataset": {"preprocessing": {"crop_size": SIDE}}}


def mixed(s: State, part: str, patches: Tensor, tokens: Tensor, layers: int) -> Tensor:
    """Sequence first, as torch's own attention takes it: (1 + patches + tokens, B, W)."""
    batch, width = patches.shape[1:]
    first = s[f"{part}.class_embedding"][:, None].expand(-1, batch, -1)
    x = torch.cat([first, patches]) + s[f"{part}.positional_embedding"][:, None]
    x = torch.cat([x, tokens + s[f"{part}.latent_token_positional_embedding"][:, None]])
    x = normed(s, f"{part}.ln_pre", x)
    for i in range(layers):
        name = f"{part}.transformer.{i}"
        attention = nn.MultiheadAttention(width, width // 64)
        attention.load_state_dict(below(s, f"{name}.attn."))
        inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        inner[0].load_state_dict(below(s, f"{name}.mlp.c_fc."))
        inner[2].load_state_dict(below(s, f"{name}.mlp.c_proj."))
        h = normed(s, f"{name}.ln_1", x)
        x = x + attention(h, h, h)[0]
        x = x + inner(normed(s, f"{name}.ln_2", x))
    return x


def below(s: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in s.items() if k.startswith(prefix)}


def normed(s: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"])


@torch.no_grad()
def expected(s: State, x: Tensor, *, l2: bool) -> tuple[Tensor, Tensor]:
    mixes, batch = "pixel_decoder.conv_in.weight" in s, len(x)
    patches = F.conv2d((x + 1) / 2, s["encoder.patch_embed.weight"], stride=PATCH)
    patches = patches.flatten(2).permute(2, 0, 1) + s["encoder.patch_embed.bias"]
    tokens = s["latent_tokens"][:, None].expand(-1, batch, -1)
    out = mixed(s, "encoder", patches, tokens, LAYERS)[-TOKENS:]
    out = normed(s, "encoder.ln_post", out).transpose(0, 1).contiguous()  # (B, n, W)
    # The first models read these numbers as (B, W, n), in the order in which they lie.
    out = out.view(batch, WIDTH, TOKENS) if mixes else out.movedim(1, 2)
    z = conv(s, "encoder.conv_out", out[:, :, :, None])
    table = s["quantize.embedding.weight"]
    if l2:
        z, table = F.normalize(z, dim=1), F.normalize(table, dim=1)
    codes = closest(z, table)[:, :, 0]
    entries = F.linear(
        table[codes], s["decoder.decoder_embed.weight"], s["decoder.decoder_embed.bias"]
    )
    count = len(s["decoder.positional_embedding"]) - 1
    empty = s["decoder.mask_token"].expand(count, batch, -1)
    out = mixed(s, "decoder", empty, entries.transpose(0, 1), DECODER_LAYERS)[1 : 1 + count]
    grid = int(count**0.5)
    out = normed(s, "decoder.ln_post", out).permute(1, 2, 0).reshape(batch, -1, grid, grid)
    out = conv(s, "decoder.ffn.0", out)
    if mixes:
        weights = conv(s, "decoder.ffn.2", torch.tanh(out)).exp()
        mean = torch.einsum("bkhw,kd->bdhw", weights, s["pixel_quantize.embedding.weight"])
        shown = maskgit.painted(s, mean / weights.sum(1, keepdim=True), "pixel_decoder")
    else:
        p = SIDE // grid
        pixels = out.reshape(batch, p, p, 3, grid, grid).permute(0, 3, 4, 1, 5, 2)
        shown = conv(s, "decoder.conv_out", pixels.reshape(batch, 3, SIDE, SIDE), padding=1)
    return codes, shown.clamp(0, 1) * 2 - 1


def downloaded(folder: Path, state: State, config: dict[str, Any]) -> Path:
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=4))
    return folder


@pytest.mark.parametrize("mixes", [True, False])
@pytest.mark.parametrize("l2", [True, False])
def test_a_directory_of_the_hub_gives_the_codes_and_pixels_of_titok(
    tmp_path: Path, mixes: bool, l2: bool
):
    state = made(mixes=mixes)
    path = downloaded(tmp_path / "titok", state, settings(mixes=mixes, l2=l2))
    x = picture(SIDE, SIDE)
    codes, shown = expected(state, x, l2=l2)
    assert not torch.equal(codes[0], codes[1]), "codes must tell of the picture"
    assert shown.std() > 0.05
    ours: Any = agrees(path, x, [codes], shown)
    assert ours.spec.levels[0].shape((99, 12)) == (TOKENS,)
    assert foreign.recognise(path).family == "TiTok"
    assert foreign.recognise(path).notes == ()


@pytest.mark.parametrize("mixes", [True, False])
def test_weights_alone_are_enough_but_for_one_guess(tmp_path: Path, mixes: bool):
    state = made(mixes=mixes)
    path = tmp_path / "tokenizer_titok_b64.bin"
    torch.save(state, path)
    x = picture(SIDE, SIDE)
    codes, shown = expected(state, x, l2=mixes)
    agrees(path, x, [codes], shown)
    (note,) = foreign.recognise(path).notes
    assert ("by direction" in note) == mixes


def test_patches_of_the_decoder_may_be_of_another_size(tmp_path: Path):
    state = made(mixes=False, decoder_patch=2)
    path = downloaded(tmp_path / "x", state, settings(mixes=False, l2=False, decoder_patch=2))
    x = picture(SIDE, SIDE)
    codes, shown = expected(state, x, l2=False)
    agrees(path, x, [codes], shown)


@pytest.mark.parametrize("mixes", [True, False])
def test_pictures_of_other_sizes_are_brought_to_the_one_and_back(tmp_path: Path, mixes: bool):
    state = made(mixes=mixes)
    torch.save(state, tmp_path / "titok.bin")
    ours: Any = foreign.open(tmp_path / "titok.bin")
    x = picture(45, 29, batch=1)
    fitted = F.interpolate(x, size=(SIDE, SIDE), mode="bicubic", antialias=True)
    codes, shown = expected(state, fitted, l2=mixes)
    found = ours.encode(x).check()
    assert torch.equal(found.levels[0], codes)
    enlarged = F.interpolate(shown, size=(45, 29), mode="bicubic", antialias=True).clamp(-1, 1)
    torch.testing.assert_close(ours.decode(found), enlarged, atol=1e-5, rtol=0)


def test_what_training_left_is_named_and_not_used(tmp_path: Path):
    state = made(mixes=False)
    torch.save(state | {"quantize.embed_prob": torch.zeros(SIZE)}, tmp_path / "x.bin")
    found = foreign.read(tmp_path / "x.bin")
    assert any("embed_prob" in note for note in found.info.notes)


def text(state: State) -> State:
    return state | {"decoder.text_guidance_proj.weight": torch.zeros(DECODER_WIDTH, 7)}


def unpainted(state: State) -> State:
    return {k: v for k, v in state.items() if not k.startswith("pixel_")}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (text(made(mixes=False)), "a TA-TiTok: it decodes with the help of a text"),
        (made(mixes=False, vae=True), "continuous latents"),
        (unpainted(made(mixes=True)), "first stage"),
    ],
)
def test_relatives_are_refused_with_the_reason(tmp_path: Path, state: State, reason: str):
    torch.save(state, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match=reason):
        foreign.recognise(tmp_path / "x.bin")


def shortened(name: str, length: int) -> Callable[[State], None]:
    def shorten(state: State) -> None:
        state[name] = state[name][:length]

    return shorten


def coarser(state: State) -> None:
    for name in [name for name in state if name.startswith("pixel_decoder.up.2.")]:
        del state[name]


@pytest.mark.parametrize(
    "harm",
    [
        shortened("encoder.positional_embedding", 12),
        shortened("decoder.positional_embedding", 1),
        shortened("decoder.latent_token_positional_embedding", TOKENS - 1),
        lambda state: state.update({"quantize.embedding.weight": torch.zeros(5)}),
        lambda state: state.update({"pixel_decoder.up.0.block.0.conv1.weight": torch.zeros(5)}),
        lambda state: state.pop("pixel_decoder.norm_out.weight"),
        coarser,
        lambda state: state.pop("pixel_quantize.embedding.weight"),
        lambda state: state.pop("decoder.transformer.0.attn.out_proj.bias"),
    ],
)
def test_shapes_that_do_not_fit_together_are_refused(
    tmp_path: Path, harm: Callable[[State], object]
):
    state = made(mixes=True)
    harm(state)
    torch.save(state, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match=r"TiTok|missing|shape"):
        foreign.open(tmp_path / "x.bin")


def test_a_config_of_another_network_is_refused(tmp_path: Path):
    config = settings(mixes=True, l2=True)
    config["model"]["vq_model"]["num_latent_tokens"] = TOKENS + 1
    path = downloaded(tmp_path / "x", made(mixes=True), config)
    with pytest.raises(CheckpointError, match="num_latent_tokens 7 found, only 6"):
        foreign.recognise(path)
