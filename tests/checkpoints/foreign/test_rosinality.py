"""rosinality's VQ-VAE-2 against a second statement of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.checkpoints.foreign.conftest import agrees, picture
from tests.checkpoints.foreign.published import Maker, State, closest, conv
from vqtok.checkpoints import foreign

WIDTH, HIDDEN, DIM, SIZE, BLOCKS = 16, 6, 5, 40, 2


def made() -> State:
    m = Maker(gain=2.0)  # activations halve what goes through

    def residuals(name: str, first: int) -> None:
        for i in range(first, first + BLOCKS):
            m.conv(f"{name}.blocks.{i}.conv.1", WIDTH, HIDDEN, 3)
            m.conv(f"{name}.blocks.{i}.conv.3", HIDDEN, WIDTH, 1)

    def transposed(name: str, inside: int, out: int) -> None:
        m.state[f"{name}.weight"] = m.random(inside, out, 4, 4) * (4 * inside) ** -0.5
        m.state[f"{name}.bias"] = m.random(out) * 0.1

    m.conv("enc_b.blocks.0", 3, WIDTH // 2, 4)
    m.conv("enc_b.blocks.2", WIDTH // 2, WIDTH, 4)
    m.conv("enc_b.blocks.4", WIDTH, WIDTH, 3)
    residuals("enc_b", 5)
    m.conv("enc_t.blocks.0", WIDTH, WIDTH // 2, 4)
    m.conv("enc_t.blocks.2", WIDTH // 2, WIDTH, 3)
    residuals("enc_t", 3)
    m.conv("quantize_conv_t", WIDTH, DIM, 1)
    m.conv("quantize_conv_b", DIM + WIDTH, DIM, 1)
    for name in ("quantize_t", "quantize_b"):
        conv_name = name.replace("quantize", "quantize_conv")
        m.state[f"{conv_name}.weight"] *= 4  # latents as far apart as the entries
        m.state[f"{conv_name}.bias"].zero_()
        m.state[f"{name}.embed"] = m.random(DIM, SIZE) * 2
        m.state[f"{name}.cluster_size"] = torch.ones(SIZE)
        m.state[f"{name}.embed_avg"] = m.random(DIM, SIZE)
    m.conv("dec_t.blocks.0", DIM, WIDTH, 3)
    residuals("dec_t", 1)
    transposed(f"dec_t.blocks.{BLOCKS + 2}", WIDTH, DIM)
    transposed("upsample_t", DIM, DIM)
    m.conv("dec.blocks.0", 2 * DIM, WIDTH, 3)
    residuals("dec", 1)
    transposed(f"dec.blocks.{BLOCKS + 2}", WIDTH, WIDTH // 2)
    transposed(f"dec.blocks.{BLOCKS + 4}", WIDTH // 2, 3)
    m.state[f"dec.blocks.{BLOCKS + 4}.weight"] *= 0.02  # pixels of the size of pixels
    return m.state


def residuals(s: State, name: str, h: Tensor, first: int) -> Tensor:
    for i in range(first, first + BLOCKS):
        inner = conv(s, f"{name}.blocks.{i}.conv.1", h.relu(), padding=1)
        h = h + conv(s, f"{name}.blocks.{i}.conv.3", inner.relu())
    return h.relu()


def transposed(s: State, name: str, h: Tensor) -> Tensor:
    return F.conv_transpose2d(h, s[f"{name}.weight"], s[f"{name}.bias"], stride=2, padding=1)


def expected(s: State, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    h = conv(s, "enc_b.blocks.0", x, stride=2, padding=1).relu()
    h = conv(s, "enc_b.blocks.2", h, stride=2, padding=1).relu()
    fine = residuals(s, "enc_b", conv(s, "enc_b.blocks.4", h, padding=1), 5)
    h = conv(s, "enc_t.blocks.0", fine, stride=2, padding=1).relu()
    h = residuals(s, "enc_t", conv(s, "enc_t.blocks.2", h, padding=1), 3)
    top = closest(conv(s, "quantize_conv_t", h), s["quantize_t.embed"].T)
    z_top = s["quantize_t.embed"].T[top].movedim(-1, 1)
    h = residuals(s, "dec_t", conv(s, "dec_t.blocks.0", z_top, padding=1), 1)
    above = transposed(s, f"dec_t.blocks.{BLOCKS + 2}", h)
    z = conv(s, "quantize_conv_b", torch.cat([above, fine], dim=1))
    bottom = closest(z, s["quantize_b.embed"].T)
    z_bottom = s["quantize_b.embed"].T[bottom].movedim(-1, 1)
    h = torch.cat([transposed(s, "upsample_t", z_top), z_bottom], dim=1)
    h = residuals(s, "dec", conv(s, "dec.blocks.0", h, padding=1), 1)
    h = transposed(s, f"dec.blocks.{BLOCKS + 2}", h).relu()
    return top, bottom, transposed(s, f"dec.blocks.{BLOCKS + 4}", h)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_codes_of_both_levels_and_pixels_agree(tmp_path: Path, prefix: str):
    state = made()
    path = tmp_path / "vqvae_560.pt"
    torch.save({prefix + name: tensor for name, tensor in state.items()}, path)
    x = picture(32, 48)
    top, bottom, shown = expected(state, x)
    ours: Any = agrees(path, x, [top, bottom], shown)
    assert [level.name for level in ours.spec.levels] == ["top", "bottom"]
    assert foreign.recognise(path).family == "VQ-VAE-2 (rosinality)"


@pytest.mark.parametrize("size", [(9, 12), (8, 13), (1, 1), (45, 39)])
def test_any_size_comes_back(tmp_path: Path, size: tuple[int, int]):
    torch.save(made(), tmp_path / "x.pt")
    ours: Any = foreign.open(tmp_path / "x.pt")
    x = picture(*size, batch=2)
    codes = ours.encode(x).check()
    assert ours.decode(codes).shape == x.shape
    whole = ours.encode(F.pad(x, (0, -size[1] % 8, 0, -size[0] % 8), mode="replicate"))
    assert torch.equal(whole.levels[0], codes.levels[0])
    rows, columns = codes.levels[1].shape[-2:]
    assert torch.equal(whole.levels[1][..., :rows, :columns], codes.levels[1])
