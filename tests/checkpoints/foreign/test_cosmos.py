"""Cosmos' discrete image tokenizers against a second statement of them, in every file they have."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.checkpoints.foreign.conftest import agrees, picture
from tests.checkpoints.foreign.published import (
    Maker,
    State,
    attn,
    conv,
    doubled,
    halved,
    norm,
    res,
    swish,
)
from vqtok.checkpoints import foreign
from vqtok.errors import CheckpointError

WIDTHS, BLOCKS, LATENT = (32, 64, 64), 2, 16
LEVELS = (8, 8, 8, 5, 5, 5)
HAAR = [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]
"""Even; differences of rows; of columns; of both."""


def made(patch: int, halvings: int, *, seed: int = 0, attends: int = -1) -> State:
    """Weights; ``attends`` is a level with attention."""
    m = Maker(seed)
    m.conv("encoder.conv_in", 3 * patch**2, 32, 3)
    for i, width in enumerate(WIDTHS):
        for j in range(BLOCKS):
            m.res(f"encoder.down.{i}.block.{j}", width if j else [32, *WIDTHS][i], width)
            if i == attends:
                m.attn(f"encoder.down.{i}.attn.{j}", width)
        if i < halvings:
            m.conv(f"encoder.down.{i}.downsample.conv", width, width, 3)
        for j in range(BLOCKS + 1):
            m.res(f"decoder.up.{i}.block.{j}", width if j else [*WIDTHS[1:], 64][i], width)
            if i == attends:
                m.attn(f"decoder.up.{i}.attn.{j}", width)
        if i >= len(WIDTHS) - halvings:
            m.conv(f"decoder.up.{i}.upsample.conv", width, width, 3)
    for side, width in (("encoder", WIDTHS[-1]), ("decoder", WIDTHS[0])):
        m.res(f"{side}.mid.block_1", WIDTHS[-1], WIDTHS[-1])
        m.attn(f"{side}.mid.attn_1", WIDTHS[-1])
        m.res(f"{side}.mid.block_2", WIDTHS[-1], WIDTHS[-1])
        m.norm(f"{side}.norm_out", width)
    m.conv("encoder.conv_out", WIDTHS[-1], LATENT, 3)
    m.conv("quant_conv", LATENT, len(LEVELS), 1)
    m.conv("post_quant_conv", len(LEVELS), LATENT, 1)
    m.conv("decoder.conv_in", LATENT, WIDTHS[-1], 3)
    m.conv("decoder.conv_out", WIDTHS[0], 3 * patch**2, 3)
    m.state["decoder.conv_out.weight"] *= 0.1  # pixels of the order of one
    return m.state


def kept_beside(s: State) -> State:
    """Buffers, which archives have and a ``state_dict`` has not."""
    tap = torch.tensor([0.5, 0.5]).sqrt()  # of both sides, as traced modules have it
    return s | {
        "encoder.patcher.wavelets": tap,
        "encoder.patcher._arange": torch.arange(2),
        "decoder.unpatcher.wavelets": tap,
        "decoder.unpatcher._arange": torch.arange(2),
        "quantizer._levels": torch.tensor(LEVELS, dtype=torch.int32),
        "quantizer._basis": torch.tensor([1, 8, 64, 512, 2560, 12800], dtype=torch.int32),
        "quantizer.implicit_codebook": torch.zeros(64000, 6),
    }


def kernels(channels: int, tap: float) -> Tensor:
    """Of a grouped convolution: four 2x2 kernels for every channel."""
    return torch.tensor(HAAR).float().mul(tap * tap)[:, None].repeat(channels, 1, 1, 1)


def patches(x: Tensor, times: int, tap: float) -> Tensor:
    for _ in range(times):
        y = F.conv2d(x, kernels(x.shape[1], tap) / 2, stride=2, groups=x.shape[1])
        x = y.unflatten(1, (-1, 4)).transpose(1, 2).flatten(1, 2)  # kinds before channels
    return x


def pixels(x: Tensor, times: int, tap: float) -> Tensor:
    for _ in range(times):
        channels = x.shape[1] // 4
        y = x.unflatten(1, (4, channels)).transpose(1, 2).flatten(1, 2)
        x = F.conv_transpose2d(y, kernels(channels, tap) * 2, stride=2, groups=channels)
    return x


def analysed(s: State, x: Tensor, tap: float = 0.5**0.5) -> Tensor:
    """Codes."""
    times = {12: 1, 48: 2}[int(s["encoder.conv_in.weight"].shape[1])]
    h = conv(s, "encoder.conv_in", patches(x, times, tap), padding=1)
    for i in range(len(WIDTHS)):
        for j in range(BLOCKS):
            h = res(s, f"encoder.down.{i}.block.{j}", h)
            if f"encoder.down.{i}.attn.{j}.q.weight" in s:
                h = attn(s, f"encoder.down.{i}.attn.{j}", h)
        if f"encoder.down.{i}.downsample.conv.weight" in s:
            h = halved(s, f"encoder.down.{i}.downsample.conv", h)
    h = res(s, "encoder.mid.block_1", h)
    h = res(s, "encoder.mid.block_2", attn(s, "encoder.mid.attn_1", h))
    h = conv(s, "encoder.conv_out", swish(norm(s, "encoder.norm_out", h)), padding=1)
    codes, place = torch.zeros(1, dtype=torch.int64), 1
    for number, size in zip(conv(s, "quant_conv", h).unbind(1), LEVELS, strict=True):
        half, offset = (size - 1) * 1.001 / 2, 0.5 * (size % 2 == 0)
        shift = torch.atanh(torch.tensor(offset / half))
        codes = codes + place * ((torch.tanh(number + shift) * half - offset).round() + size // 2)
        place *= size
    return codes.long()


def painted(s: State, codes: Tensor, tap: float = 0.5**0.5) -> Tensor:
    numbers, left = [], codes
    for size in LEVELS:
        numbers.append((left % size - size // 2) / (size // 2))
        left = left // size
    h = conv(s, "post_quant_conv", torch.stack(numbers, dim=1))
    h = res(s, "decoder.mid.block_1", conv(s, "decoder.conv_in", h, padding=1))
    h = res(s, "decoder.mid.block_2", attn(s, "decoder.mid.attn_1", h))
    for i in reversed(range(len(WIDTHS))):
        for j in range(BLOCKS + 1):
            h = res(s, f"decoder.up.{i}.block.{j}", h)
            if f"decoder.up.{i}.attn.{j}.q.weight" in s:
                h = attn(s, f"decoder.up.{i}.attn.{j}", h)
        if f"decoder.up.{i}.upsample.conv.weight" in s:
            h = doubled(s, f"decoder.up.{i}.upsample.conv", h)
    h = conv(s, "decoder.conv_out", swish(norm(s, "decoder.norm_out", h)), padding=1)
    return pixels(h, {12: 1, 48: 2}[int(h.shape[1])], tap)


class Tree(nn.Module):
    """Modules within modules that hold a state under its names."""

    def __init__(self, state: State) -> None:
        super().__init__()
        for name, tensor in state.items():
            *path, leaf = name.split(".")
            place: nn.Module = self
            for part in path:
                if part not in dict(place.named_children()):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            if {"quantizer", "patcher", "unpatcher"} & set(path):
                place.register_buffer(leaf, tensor, persistent=False)
            else:
                place.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return x


class Working(Tree):
    """The same, computing something of its state and its input, for the tracer to follow."""

    def __init__(self, state: State, work: Callable[[State, Tensor], Tensor]) -> None:
        super().__init__(state)
        self.work = work

    def forward(self, x: Tensor) -> Tensor:
        return self.work(dict(self.named_parameters()), x)


def encoder_of(s: State) -> State:
    return {k: v for k, v in s.items() if k.startswith(("encoder.", "quant_conv.", "quantizer."))}


def decoder_of(s: State) -> State:
    held = {k: v for k, v in s.items() if k.startswith(("decoder.", "post_quant_conv."))}
    return held | {f"inv_quant.{k}": v for k, v in s.items() if k.startswith("quantizer.")}


def shown(s: State, x: Tensor) -> Tensor:
    return painted(s, analysed(s, x))


def archive(path: Path, s: State, x: Tensor, work: Callable[[State, Tensor], Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the format; loops are traced as such
        traced = torch.jit.trace(Working(s, work), x, check_trace=False)
        torch.jit.save(traced, path)


def pair(folder: Path, s: State, x: Tensor) -> Path:
    folder.mkdir()
    archive(folder / "encoder.jit", encoder_of(s), x, analysed)
    archive(folder / "decoder.jit", decoder_of(s), analysed(s, x), painted)
    return folder


def whole(folder: Path, s: State, x: Tensor) -> Path:
    folder.mkdir()
    archive(folder / "autoencoder.jit", s, x, shown)
    (folder / "encoder.jit").write_bytes(b"not looked at")
    return folder


def scripted(folder: Path, s: State, x: Tensor) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Tree(s)), folder.with_suffix(".jit"))
    return folder.with_suffix(".jit")


def plain(folder: Path, s: State, x: Tensor) -> Path:
    torch.save(Tree(s).state_dict(), folder.with_suffix(".pt"))
    return folder.with_suffix(".pt")


def trained(folder: Path, s: State, x: Tensor) -> Path:
    """As the published training saves: the weights, and averages of them under odd names."""
    held = {f"network.{k}": v + 1 if v.is_floating_point() else v for k, v in s.items()}
    held |= {f"ema.network-{k.replace('.', '-')}": v for k, v in Tree(s).state_dict().items()}
    held = {k: v for k, v in held.items() if "patcher" not in k}
    torch.save({"model": held, "optimizer": {}, "iteration": 7}, folder.with_suffix(".pt"))
    return folder.with_suffix(".pt")


@pytest.mark.parametrize(
    ("patch", "halvings", "attends", "save"),
    [
        *((4, 1, 1, save) for save in (pair, whole, scripted, plain, trained)),
        (2, 2, -1, pair),
        *(
            pytest.param(2, 2, -1, save, marks=pytest.mark.slow)
            for save in (whole, scripted, plain, trained)
        ),
    ],
)
def test_codes_and_pixels_are_those_of_cosmos(
    tmp_path: Path, save: Any, patch: int, halvings: int, attends: int
):
    state = made(patch, halvings, attends=attends)
    x = picture(32, 48)
    path = save(tmp_path / "cosmos", kept_beside(state), x)
    codes = analysed(state, x)
    ours = agrees(path, x, [codes], painted(state, codes))
    assert ours.spec.levels[0].codebook_size == 64000
    assert ours.spec.levels[0].stride == (8, 8)
    assert foreign.recognise(path).family == "Cosmos DI"


@pytest.mark.parametrize(("patch", "halvings"), [(4, 2), (2, 3)])
def test_sides_are_padded_with_black_around_the_middle(
    tmp_path: Path, odd: Tensor, patch: int, halvings: int
):
    state = made(patch, halvings)
    black = torch.full((1, 3, 48, 48), -1.0)
    black[..., 1:46, 4:43] = odd
    codes = analysed(state, black)
    path = plain(tmp_path / "cosmos", state, odd)
    agrees(path, odd, [codes], painted(state, codes)[..., 1:46, 4:43])


def test_an_archive_in_bfloat16_is_computed_in_float32(tmp_path: Path):
    held = {k: v.bfloat16() if v.is_floating_point() else v
            for k, v in kept_beside(made(4, 1)).items()}  # fmt: skip
    state = {k: v.float() for k, v in held.items()}
    tap = float(held["encoder.patcher.wavelets"][0])
    assert tap != 0.5**0.5
    x = picture(32, 48)
    codes = analysed(state, x, tap)
    path = scripted(tmp_path / "cosmos", held, x)
    agrees(path, x, [codes], painted(state, codes, tap))
    assert any("computed in float32" in note for note in foreign.recognise(path).notes)


def test_what_has_no_such_codes_is_refused_by_name(tmp_path: Path):
    x = picture(16, 16)
    state = kept_beside(made(4, 1))
    continuous = {k: v for k, v in state.items() if "quantizer" not in k}
    continuous["quant_conv.weight"] = torch.zeros(16, LATENT, 1, 1)
    arranged = state | {"encoder.patcher.wavelets": torch.ones(2)}
    strange = state | {"quantizer._levels": torch.zeros(6, dtype=torch.int32)}
    for held, text in (
        (continuous, "without levels for its 16 numbers"),
        (arranged, "not the Haar transform"),
        (encoder_of(state), "one side"),
        (decoder_of(state), "one side"),
        (strange, "levels: 0 is below 3"),
    ):
        with pytest.raises(CheckpointError, match=text):
            foreign.open(scripted(tmp_path / "x", held, x))
