"""Codes of an effort: never worse, the same however they are computed, and judged by an oracle."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import TINY_IMAGE
from vqtok.codes.container import Codes
from vqtok.config import parse
from vqtok.effort import search
from vqtok.effort.choices import Level, choose
from vqtok.effort.network import Look, Network
from vqtok.effort.objectives import OBJECTIVES
from vqtok.effort.search import Search
from vqtok.errors import UsageError
from vqtok.protocols import Config

TWO_LEVELS = {
    "type": "tokenizers/vqvae2",
    "quantizer": {"type": "quantizers/vq", "codebook_size": 32},
    "patch": 4,
    "widths": [8, 8],
    "encoder_blocks": [1, 1],
    "decoder_blocks": [1, 1],
    "kernel": 3,
    "latent": 4,
}
STRIDED = {
    "type": "tokenizers/vqvae",
    "network": "strided",
    "quantizer": {"type": "quantizers/vq", "codebook_size": 32},
    "widths": [8, 8],
    "encoder_blocks": [1],
    "decoder_blocks": [1],
    "latent": 4,
}
RVQ = TINY_IMAGE | {"quantizer": {"type": "quantizers/rvq", "codebook_size": 16, "depth": 3}}
GROUPED = TINY_IMAGE | {
    "quantizer": {
        "type": "quantizers/grouped",
        "quantizer": {"type": "quantizers/vq", "codebook_size": 16},
        "groups": 2,
    }
}
FSQ = TINY_IMAGE | {"quantizer": {"type": "quantizers/fsq", "levels": [4, 3, 3]}}
LOGITS = TINY_IMAGE | {"output": "logits"}
MODELS = {
    "vq": TINY_IMAGE, "two levels": TWO_LEVELS, "strided": STRIDED, "rvq": RVQ,
    "grouped": GROUPED, "fsq": FSQ, "logits": LOGITS,
}  # fmt: skip


def build(config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    model = parse(config, Config).build().eval()
    for module in model.modules():
        if isinstance(getattr(module, "initialised", None), torch.Tensor):
            module.initialised.fill_(True)
    return model


def picture(model: Any, height: int, width: int) -> np.ndarray:
    """A picture that the decoder could nearly make, if only it were given other codes."""
    random = np.random.default_rng(height * 1000 + width)
    levels = tuple(
        torch.from_numpy(random.integers(0, level.codebook_size, (1, *shape)))
        for level, shape in zip(model.spec.levels, model.spec.shapes((height, width)), strict=True)
    )
    y = model.decode(Codes(model.spec, levels, (height, width)))[0].numpy()
    noise = 0.3 * y.std() * random.standard_normal(y.shape)
    return (y + noise).clip(-1, 1).astype(np.float32)


def plain(model: Any, x: np.ndarray) -> Codes:
    return model.encode_many([torch.from_numpy(x)])[0].numpy()


def searched(
    model: Any, x: np.ndarray, passes: int, *, metric: str = "mse", depth: int | None = None
) -> Codes:
    network = Network(model, OBJECTIVES[metric], depth=depth)
    codes = plain(model, x)
    codes = codes if depth is None else codes.truncate(depth)
    return Search(network, passes=passes).refine(codes, lambda r, c: x[:, r, c])


def errors(model: Any, x: np.ndarray, codes: Codes) -> torch.Tensor:
    """Squared errors (H, W) in float64, decoded whole."""
    judge = copy.deepcopy(model).double()
    z_qs = []
    for quantizer, level in zip(model.quantizers, codes.levels, strict=True):
        z_qs.append(quantizer.decode(torch.from_numpy(level.astype(np.int64))).double())
    with torch.no_grad():
        y = judge.paint(z_qs)[..., : x.shape[1], : x.shape[2]].clamp(-1, 1)
    return (y[0] - torch.from_numpy(x).double()).square().sum(0)


def same(a: Codes, b: Codes) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.levels, b.levels, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_pixels_come_closer_and_codes_stay_codes(name):
    model = build(MODELS[name])
    x = picture(model, 45, 61)
    before, after = plain(model, x), searched(model, x, 3)
    assert errors(model, x, after).sum() < errors(model, x, before).sum()
    for level, a, b in zip(after.spec.levels, before.levels, after.levels, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert b.max() < level.codebook_size


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (7, 3), (8, 8), (33, 9)])
@pytest.mark.parametrize("name", ["vq", "two levels"])
def test_small_and_odd_pictures_are_never_worse(name, size):
    model = build(MODELS[name])
    x = picture(model, *size)
    before, after = plain(model, x), searched(model, x, 2)
    assert errors(model, x, after).sum() <= errors(model, x, before).sum()


@pytest.mark.parametrize("name", ["vq", "two levels", "rvq"])
def test_tiles_are_never_worse_and_together_they_are_the_whole_grid(name, monkeypatch):
    monkeypatch.setattr(search, "TILE", 24)
    monkeypatch.setattr(search, "AROUND", 8)
    model = build(MODELS[name])
    x = picture(model, 61, 45)
    before, after = plain(model, x), searched(model, x, 3)
    assert errors(model, x, after).sum() < errors(model, x, before).sum()
    cut = list(search.tiles((61, 45), stride=8))
    owned = np.zeros((8, 6), dtype=int)
    for tile in cut:
        owned[tile.owned()] += 1
    assert len(cut) > 1 and (owned == 1).all()


def test_the_search_reads_no_more_than_a_tile_at_a_time(monkeypatch):
    monkeypatch.setattr(search, "TILE", 32)
    monkeypatch.setattr(search, "AROUND", 8)
    monkeypatch.setattr("vqtok.tokenizers.exact.tiling2d.TILE", 32)
    model = build(TINY_IMAGE)
    x, most = picture(model, 20, 300), 0
    network = Network(model, OBJECTIVES["mse"], depth=None)

    def read(rows: slice, columns: slice) -> np.ndarray:
        nonlocal most
        most = max(most, columns.stop - columns.start)
        return x[:, rows, columns]

    Search(network, passes=1).refine(plain(model, x), read)
    assert 0 < most <= 32 + 2 * 8 + 8


@pytest.mark.parametrize("name", ["vq", "two levels", "rvq"])
def test_what_float32_decides_is_what_float64_decides(name, monkeypatch):
    model = build(MODELS[name])
    x = picture(model, 48, 72)
    fast = searched(model, x, 4)
    look = Network.look

    def exactly(self: Network, *given: Any, gradients: bool, exact: bool = False) -> Any:
        return look(self, *given, gradients=gradients, exact=True)

    monkeypatch.setattr(Network, "look", exactly)
    assert same(fast, searched(model, x, 4))


def test_near_ties_are_decided_in_float64(monkeypatch):
    model = build(TINY_IMAGE)
    x = picture(model, 48, 72)
    wanted = searched(model, x, 3)
    looks = []
    look = Network.look

    def noisy(self: Network, *given: Any, gradients: bool, exact: bool = False) -> Any:
        looks.append(exact)
        return look(self, *given, gradients=gradients, exact=exact)

    network = Network(model, OBJECTIVES["mse"], depth=None)
    network.gradient_error = network.change_error = 1.0  # everything is a near tie
    monkeypatch.setattr(Network, "look", noisy)
    found = Search(network, passes=3).refine(plain(model, x), lambda r, c: x[:, r, c])
    assert sum(looks) > 2
    assert same(found, wanted)


def test_threads_change_nothing():
    model = build(TINY_IMAGE)
    x = picture(model, 64, 80)
    before = torch.get_num_threads()
    found = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(searched(model, x, 3))
    finally:
        torch.set_num_threads(before)
    assert same(*found)


def test_each_change_helps_by_itself_says_an_exhaustive_judge():
    model = build(TINY_IMAGE)
    x = picture(model, 64, 64)
    before, after = plain(model, x), searched(model, x, 1)
    total = errors(model, x, before).sum()
    changed = np.argwhere(before.levels[0] != after.levels[0])
    assert len(changed) > 2
    for at in changed:
        array = before.levels[0].copy()
        array[tuple(at)] = after.levels[0][tuple(at)]
        alone = errors(model, x, Codes(before.spec, (array,), before.extent)).sum()
        assert alone < total


def test_ssim_is_what_falls_if_it_is_asked_for():
    model = build(TINY_IMAGE)
    x = picture(model, 64, 64)
    objective = OBJECTIVES["ssim"]

    def lacking(codes: Codes) -> float:
        y = model.decode(torch.from_numpy(codes.levels[0].astype(np.int64)), extent=(64, 64))
        return float(objective.errors(torch.from_numpy(x)[None], y.clone()).sum())

    assert lacking(searched(model, x, 3, metric="ssim")) < lacking(plain(model, x))


def test_ssim_is_that_of_the_metric_inside_a_picture():
    from vqtok.metrics.image import ssim

    x = torch.from_numpy(picture(build(TINY_IMAGE), 48, 40))[None]
    levels = torch.round((x + 1) * 127.5)  # the metric sees 8 bits
    x = levels / 127.5 - 1
    y = (levels * 0.8 + 20).round() / 127.5 - 1
    inside = OBJECTIVES["ssim"].errors(x.double(), y.double())[5:-5, 5:-5]
    assert 1 - inside.mean() / 3 == pytest.approx(float(ssim(x, y)), abs=1e-5)


def test_fewer_stages_are_searched_as_they_are_kept():
    model = build(RVQ)
    x = picture(model, 40, 40)
    found = searched(model, x, 3, depth=2)
    assert found.levels[0].shape[1] == 2
    before = plain(model, x).truncate(2)
    assert errors(model, x, found).sum() < errors(model, x, before).sum()


def test_the_change_that_is_chosen_gains_most_of_all():
    generator = torch.Generator().manual_seed(3)
    tables = [torch.randn(20, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    root = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    level = Level(tables, root @ root.T + torch.eye(3, dtype=torch.float64), 1)
    gradient = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64) * 3
    codes = torch.randint(0, 20, (2, 5, 4), generator=generator)
    steps = torch.rand(5, 4, generator=generator, dtype=torch.float64) + 0.5
    free = torch.ones(5, 4, dtype=torch.bool)
    found = choose(level, gradient, codes, steps=steps, free=free, least=0.0, error=0.0)
    gains = torch.full((2, 20, 5, 4), -torch.inf, dtype=torch.float64)
    for stage, table in enumerate(tables):
        for entry in range(20):
            move = (table[entry] - table[codes[stage]]).permute(2, 0, 1)
            along = torch.einsum("dhw,de,ehw->hw", move, level.steepness, move)
            gains[stage, entry] = 2 * (gradient * move).sum(0) - steps * along
    best = gains.flatten(0, 1).max(dim=0)
    assert found.changed.any()
    for row, column in found.changed.nonzero().tolist():
        stage, entry = divmod(int(best.indices[row, column]), 20)
        assert int(found.codes[stage, row, column]) == entry
        around = best.values[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        others = found.changed[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        assert int(others.sum()) == 1  # no neighbour changes, too
        assert around.numel()
    top = divmod(int(best.values.argmax()), 4)
    assert bool(found.changed[top])
    assert torch.equal(found.codes[:, ~found.changed], codes[:, ~found.changed])


def test_what_changes_met_is_the_steepness_that_they_had():
    """A decoder that is linear, and of one steepness, tells it; rounding aside."""
    model = build(TINY_IMAGE)
    network = Network(model, OBJECTIVES["mse"], depth=None)
    network.gradient_error = network.change_error = 0.0
    steepness = network.levels[0].steepness
    changed = torch.zeros(6, 6, dtype=torch.bool)
    changed[1, 1] = changed[4, 4] = True
    generator = torch.Generator().manual_seed(0)
    move = torch.randn(len(steepness), 6, 6, generator=generator, dtype=torch.float64) * changed
    gradient = torch.randn(move.shape, generator=generator, dtype=torch.float64)
    along = torch.einsum("dhw,de,ehw->hw", move, steepness, move)
    stride = network.strides[0]
    for steep in (0.7, 1.0, 2.5):
        rise = steep * along - 2 * (gradient * move).sum(dim=0)
        pixels = rise.repeat_interleave(stride, 0).repeat_interleave(stride, 1) / stride**2
        before = Look([], torch.full_like(pixels, 10.0), [gradient])
        after = Look([], before.errors + pixels, [])
        run = search.Run(network, torch.zeros(3, 6 * stride, 6 * stride))
        met = run._met(before, after, 0, changed, move, torch.ones(6, 6, dtype=torch.float64))
        off = met[changed] - np.log2(steep * search.MARGIN)
        assert float(off.abs().max()) <= 0.5 / search.FINE + 1e-9


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (64, 48)])
def test_activity_grows_with_contrast_and_is_never_nothing(size):
    network = Network(build(TINY_IMAGE), OBJECTIVES["mse"], depth=None)
    grid = [-(-side // network.strides[0]) for side in size]
    x = torch.from_numpy(picture(build(TINY_IMAGE), *size))
    full, half, none = (network.activity(each, 0, grid) for each in (x, x / 2, 0 * x))
    assert full.shape == tuple(grid)
    assert bool((full > 0).all() and (none > 0).all())
    torch.testing.assert_close(half, (full / 4).clamp(min=float(none.min())))


def test_too_many_entries_are_refused():
    model = build(TINY_IMAGE)
    model.quantizer.codebook_size = 1 << 20
    with pytest.raises(UsageError, match="1048576 entries"):
        Network(model, OBJECTIVES["mse"], depth=None)
