"""How entries learn: moving averages, start, revival, and the losses of a single codebook."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vqtok import config
from vqtok.errors import ConfigError
from vqtok.quantizers import rvq, simvq, vq
from vqtok.quantizers._codebook import Codebook
from vqtok.quantizers._kmeans import draw, kmeans
from vqtok.quantizers._revival import RevivedAt, successors


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clusters(per_cluster: int, *, count: int = 12, seed: int = 0) -> Tensor:
    """Rows in tight, well separated clusters on a line of corners."""
    centres = torch.arange(count)[:, None] * torch.tensor([10.0, -7.0, 3.0])
    noise = 0.01 * gaussian(count, per_cluster, 3, seed=seed)
    return (centres[:, None] + noise).flatten(0, 1)


def test_one_step_of_moving_averages_matches_numpy() -> None:
    book = Codebook(6, 3, decay=0.9, revive=0)
    rows = gaussian(20, 3, seed=1)
    codes = torch.randint(0, 4, (20,), generator=torch.Generator().manual_seed(2))  # 4, 5 unused
    entries = book.entries.clone().numpy()
    count, total = np.ones(6), entries.astype(np.float64)
    hits, sums = np.zeros(6), np.zeros((6, 3))
    for row, code in zip(rows.numpy(), codes.numpy(), strict=True):
        hits[code] += 1
        sums[code] += row
    count = 0.9 * count + 0.1 * hits
    total = 0.9 * total + 0.1 * sums
    expected = np.where(hits[:, None] > 0, total / count[:, None], entries)

    book.learn(rows, codes, generator=None)

    np.testing.assert_allclose(book.learning.count.numpy(), count, rtol=1e-6)
    np.testing.assert_allclose(book.learning.total.numpy(), total, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(book.entries.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_unused_entries_stay_where_they_are_for_thousands_of_steps() -> None:
    book = Codebook(3, 2, decay=0.9, revive=0)
    before = book.entries.clone()
    rows, codes = gaussian(5, 2), torch.zeros(5, dtype=torch.int64)
    for _ in range(2000):
        book.learn(rows, codes, generator=None)
    assert torch.equal(book.entries[1:], before[1:])
    torch.testing.assert_close(book.entries[0], rows.mean(dim=0))
    book.learn(rows, torch.ones(5, dtype=torch.int64), generator=None)
    torch.testing.assert_close(book.entries[1], rows.mean(dim=0))


def test_cosine_entries_keep_unit_length() -> None:
    book = Codebook(8, 4, cosine=True)
    rows = book.unit(gaussian(50, 4))
    for _ in range(5):
        book.learn(rows, book.assign(rows), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(book.entries.norm(dim=1), torch.ones(8))


def test_revival_moves_dead_entries_onto_latents_and_resets_count_and_sum_together() -> None:
    book = Codebook(10, 3, revive=0.1, revive_every=1)
    book.learning.count[:] = torch.tensor([1.0] * 7 + [1e-3, 0.0, 1e-6])
    rows = gaussian(30, 3) + 50
    codes = torch.arange(30) % 7
    book.learn(rows, codes, generator=torch.Generator().manual_seed(0))
    revived, state = torch.tensor([7, 8, 9]), book.learning
    for index in revived:
        assert bool((rows == book.entries[index]).all(dim=1).any())
    assert bool((state.count[revived] > 0.1 * state.count.mean()).all())
    torch.testing.assert_close(
        state.total[revived], book.entries[revived] * state.count[revived, None]
    )
    assert len(torch.unique(book.entries[revived], dim=0)) == 3


def test_revival_never_takes_more_entries_than_there_are_latents() -> None:
    book = Codebook(50, 3, revive=0.1, revive_every=1)
    book.learning.count[10:] = 0
    rows = gaussian(4, 3) + 50
    before = book.entries.clone()
    book.learn(rows, torch.arange(4), generator=None)
    assert int((book.entries[10:] != before[10:]).any(dim=1).sum()) == 4


def test_revival_by_error_leaves_alone_what_is_told_exactly() -> None:
    # Without averages, so that no entry moves but by revival.
    book = Codebook(12, 3, ema=False, revive=0.1, revive_every=1, revive_at="error")
    book.learning.count[:] = torch.tensor([1.0] * 4 + [0.0] * 8)
    codes = torch.arange(400) % 4
    rows = book.entries.detach()[codes]
    rows[7::50] += 1.0  # 8 of 400
    book.learn(rows, codes, generator=torch.Generator().manual_seed(0))
    revived = book.entries.detach()[4:]
    assert {tuple(each) for each in revived.tolist()} == {tuple(r) for r in rows[7::50].tolist()}


def test_revival_by_error_does_not_seek_outliers() -> None:
    rows, codes = gaussian(200, 3), torch.zeros(200, dtype=torch.int64)
    rows[0] = 1e4
    found = 0
    for seed in range(40):
        book = Codebook(2, 3, ema=False, revive=0.1, revive_every=1, revive_at="error")
        book.learning.count[:] = torch.tensor([1.0, 0.0])
        book.entries.data[0] = 0
        book.learn(rows, codes, generator=torch.Generator().manual_seed(seed))
        found += bool((book.entries[1] == rows[0]).all())
    # Its squared distance is ten thousand times that of all others together.
    assert found <= 2


def test_heirs_are_drawn_in_proportion_to_their_error_up_to_the_median() -> None:
    error = torch.tensor([0.0, 1.0, 2.0, 3.0, 400.0])
    weight = torch.tensor([0.0, 1.0, 2.0, 2.0, 2.0])  # 2 is the lower median of the four
    count, rows = torch.tensor([1.0, 1.0, 0.0]), torch.arange(5.0)[:, None]
    generator, draws = torch.Generator().manual_seed(0), 4000
    found = torch.zeros(5)
    for _ in range(draws):
        which, fresh = successors(count, rows, revive=0.1, generator=generator, error=error)
        assert which.tolist() == [2]
        found[int(fresh)] += 1
    # Five standard deviations of a share, sqrt(p (1 - p) / n), are below 0.04.
    torch.testing.assert_close(found / draws, weight / weight.sum(), atol=0.04, rtol=0)
    assert found[0] == 0


@pytest.mark.parametrize("revive_at", ["random", "error"])
def test_a_step_without_latents_is_harmless(revive_at: RevivedAt) -> None:
    book = Codebook(5, 3, revive=0.5, revive_every=1, revive_at=revive_at)
    book.learning.count[3:] = 0
    before = book.entries.clone()
    book.learn(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), generator=None)
    assert torch.equal(book.entries, before)


def test_entries_used_by_chance_are_left_alone_and_use_stays_high() -> None:
    # An eighth of a latent per entry and step, as with 8192 entries and 1024 latents.
    quantizer = vq.Config(codebook_size=512, warmup=0).build(dim=4)
    quantizer.generator = torch.Generator().manual_seed(0)
    used: list[Tensor] = []
    for step in range(700):
        codes = quantizer(gaussian(64, 4, seed=step)).codes
        if step >= 600:
            used.append(codes)
    assert torch.cat(used).unique().numel() > 0.95 * 512


def test_use_recovers_after_the_latents_move_away() -> None:
    quantizer = vq.Config(codebook_size=128, warmup=0).build(dim=4)
    quantizer.generator = torch.Generator().manual_seed(0)
    for step in range(20):
        quantizer(gaussian(256, 4, seed=step))
    for step in range(600):
        codes = quantizer(gaussian(256, 4, seed=step) + 30).codes
    assert codes.unique().numel() > 0.8 * 128


def test_kmeans_finds_every_cluster() -> None:
    rows = clusters(50)
    centres = kmeans(rows, 40, iterations=15, generator=torch.Generator().manual_seed(0))
    near = torch.cdist(rows, centres).min(dim=1).values
    assert float(near.max()) < 1


def test_kmeans_never_gets_worse() -> None:
    rows = gaussian(2000, 4)
    errors = []
    for iterations in (0, 1, 3, 10):
        generator = torch.Generator().manual_seed(0)
        centres = kmeans(rows, 64, iterations=iterations, generator=generator)
        errors.append(float(torch.cdist(rows, centres).min(dim=1).values.square().mean()))
    assert errors == sorted(errors, reverse=True)


def test_kmeans_of_8192_entries_takes_seconds() -> None:
    rows, start = gaussian(8 * 8192, 16), time.process_time()
    kmeans(rows, 8192, iterations=2, generator=torch.Generator().manual_seed(0))
    assert time.process_time() - start < 20  # about 1 s on one quiet core


def test_more_centres_than_rows_are_all_different() -> None:
    rows = gaussian(5, 3)
    chosen = draw(rows, 17, generator=torch.Generator().manual_seed(0))
    assert chosen.shape == (17, 3)
    assert len(chosen.unique(dim=0)) == 17
    assert float(torch.cdist(chosen, rows).min(dim=1).values.max()) < 0.1


def test_the_start_places_entries_on_clusters_with_consistent_averages() -> None:
    settings = vq.Config(codebook_size=24, warmup=3, samples=20, kmeans=10)
    quantizer = settings.build(dim=3)
    quantizer.generator = torch.Generator().manual_seed(0)
    for step in range(12):
        rows = clusters(10, seed=step)
        out = quantizer(rows.t()[None])
        if bool(quantizer.initialised):
            break
        assert int(out.codes.max()) == 0 and out.loss.item() == 0
        assert torch.equal(out.z_q[0].t(), rows)
    assert step == 3  # 480 latents at 120 a step, and at least 3 steps
    error = (out.z_q[0].t() - rows).square().sum(dim=1)
    assert float(error.max()) < 1
    state = quantizer.codebook.learning
    torch.testing.assert_close(state.total, quantizer.codebook.entries * state.count[:, None])
    assert len(quantizer.learning.rows) == 0


def test_the_sample_keeps_the_latest_latents() -> None:
    quantizer = vq.Config(codebook_size=4, warmup=5, samples=10).build(dim=3)
    seen = []
    for step in range(4):
        z = gaussian(1, 3, 16, seed=step)
        quantizer(z)
        seen.append(z[0].t())
    assert torch.equal(quantizer.learning.rows, torch.cat(seen)[-40:])


def test_a_small_sample_may_not_start_a_large_codebook() -> None:
    quantizer = vq.Config(codebook_size=64, warmup=0, samples=4).build(dim=3)
    for step in range(15):
        quantizer(gaussian(1, 3, 16, seed=step))
        assert not bool(quantizer.initialised)
    quantizer(gaussian(1, 3, 16, seed=99))
    assert bool(quantizer.initialised)


def ready(**settings: object) -> vq.Vq:
    torch.manual_seed(0)
    quantizer: vq.Vq = vq.Config(codebook_size=16, warmup=0, samples=1, **settings).build(dim=3)  # type: ignore[arg-type]
    quantizer(gaussian(4, 3, 8, seed=5))
    assert bool(quantizer.initialised)
    return quantizer


def test_the_loss_is_that_of_the_paper() -> None:
    z = gaussian(2, 3, 8, seed=7)
    quantizer = ready(ema=False, commitment=0.3).eval()
    out = quantizer(z)
    assert out.loss.item() == pytest.approx(1.3 * F.mse_loss(z, out.z_q).item(), rel=1e-5)
    averaged = ready(ema=True, commitment=0.3).eval()
    out = averaged(z)
    assert out.loss.item() == pytest.approx(0.3 * F.mse_loss(z, out.z_q).item(), rel=1e-5)


def test_the_losses_pull_latents_and_entries_towards_each_other() -> None:
    z = gaussian(2, 3, 8, seed=7).requires_grad_()
    quantizer = ready(ema=False, commitment=0.5)
    out = quantizer(z)
    out.loss.backward()
    difference = (z - out.z_q).detach()
    assert z.grad is not None and quantizer.codebook.entries.grad is not None
    torch.testing.assert_close(z.grad, difference * 2 * 0.5 / z.numel())
    expected = torch.zeros(16, 3)
    expected.index_add_(0, out.codes.flatten(), difference.movedim(1, -1).reshape(-1, 3))
    torch.testing.assert_close(quantizer.codebook.entries.grad, expected * -2 / z.numel())


def test_the_decoder_gradient_passes_straight_through() -> None:
    z = gaussian(2, 3, 8, seed=7).requires_grad_()
    weights = gaussian(2, 3, 8, seed=8)
    (ready()(z).z_q * weights).sum().backward()
    assert z.grad is not None
    assert torch.equal(z.grad, weights)


def test_learned_entries_train_by_gradient_and_averaged_ones_do_not() -> None:
    assert [name for name, _ in ready(ema=False).named_parameters()] == ["codebook.entries"]
    assert not list(ready(ema=True).parameters())


def test_cosine_lookup_ignores_length() -> None:
    quantizer = ready(cosine=True).eval()
    z = gaussian(2, 3, 8, seed=7)
    assert torch.equal(quantizer(z).codes, quantizer(z * 17).codes)
    torch.testing.assert_close(quantizer(z).z_q.norm(dim=1), torch.ones(2, 8))


def test_changing_the_entries_in_place_changes_the_codes() -> None:
    quantizer = ready().eval()
    z = gaussian(2, 3, 8, seed=7)
    before = quantizer(z).codes
    with torch.no_grad():
        quantizer.codebook.entries.copy_(quantizer.codebook.entries.flip(0))
    assert torch.equal(quantizer(z).codes, 15 - before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codebook_size": 0}, "codebook_size: 0 is below 1"),
        ({"decay": 1.5}, "decay: 1.5 is not between 0 and 1"),
        ({"revive_every": 0}, "revive_every: 0 is below 1"),
        ({"samples": 0}, "samples: 0 is below 1"),
        ({"commitment": -1.0}, "commitment: -1.0 is below 0"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.parse(settings, vq.Config, where="model")


@pytest.mark.parametrize("name", ["vq", "rvq", "simvq"])
def test_settling_places_the_entries_among_what_was_collected(name: str) -> None:
    settings = {"vq": vq, "rvq": rvq, "simvq": simvq}[name].Config(codebook_size=16, warmup=50)
    quantizer = settings.build(dim=3)
    rows = clusters(10, seed=0) + 7
    quantizer(rows.t()[None])
    before = float((quantizer.eval()(rows.t()[None]).z_q[0].t() - rows).square().mean())
    quantizer.place_codebook()
    assert bool(quantizer.initialised)
    after = float((quantizer(rows.t()[None]).z_q[0].t() - rows).square().mean())
    assert after < before / 20
    placed = {key: value.clone() for key, value in quantizer.state_dict().items()}
    quantizer.place_codebook()  # once only
    assert all(torch.equal(value, placed[key]) for key, value in quantizer.state_dict().items())
