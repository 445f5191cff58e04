"""What holds for every prior: it looks back only, samples what it costs, and is seed-exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.priors.conftest import EXTENTS, NAMES, VARIANTS, flat_of, make, some_codes
from vqtok import config
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.errors import UsageError
from vqtok.priors._network import Condition
from vqtok.protocols import Prompt

LEARNERS = [
    pytest.param(*VARIANTS[number], marks=marks)
    for number, marks in ((0, ()), (6, pytest.mark.slow), (9, ()), (17, pytest.mark.slow), (18, ()))
]

every_prior = pytest.mark.parametrize(("name", "given", "spec"), VARIANTS, ids=NAMES)


def steps_of(prior: Any, extent: tuple[int, ...]) -> Tensor:
    """In which step each flat code is predicted: (N,)."""
    layout = prior.network.lay_out(extent)
    steps = torch.empty(layout.count, dtype=torch.int64)
    for step, cells in enumerate(layout.cells.tolist()):
        steps[[cell for cell in cells if cell >= 0]] = step
    return steps


def changed(codes: Codes, cell: int) -> Codes:
    """Another code at one place of the first item."""
    levels, first = [], 0
    for level, array in zip(codes.spec.levels, codes.levels, strict=True):
        array, size = array.clone(), array[0].numel()
        if first <= cell < first + size:
            row = array[0].view(-1)
            row[cell - first] = (row[cell - first] + 1) % level.codebook_size
        levels.append(array)
        first += size
    return Codes(codes.spec, tuple(levels), codes.extent)


def test_every_file_of_the_family_is_tested() -> None:
    # A context model sees its surroundings alone and knows no classes: test_context.py.
    assert {name for name, _, _ in VARIANTS} | {"context"} == set(config.members("priors"))


@every_prior
def test_no_code_bears_on_what_comes_before_it_or_at_once(
    name: str, given: dict[str, Any], spec: CodeSpec
) -> None:
    prior: Any = make(name, given, spec)
    codes = some_codes(prior, 1)
    steps = steps_of(prior, codes.extent)
    with torch.no_grad():
        before = flat_of(Codes(spec, prior.nll(codes), codes.extent))[0]
        heeded = torch.zeros(len(steps), len(steps), dtype=torch.bool)
        for cell in range(len(steps)):
            other = changed(codes, cell)
            after = flat_of(Codes(spec, prior.nll(other), codes.extent))[0]
            # Other rounding is below this, other inputs above: the weights are large.
            heeded[cell] = (after - before).abs() > 1e-5
    heeded.fill_diagonal_(False)
    later = steps[:, None] < steps[None, :]
    assert not bool((heeded & ~later).any())
    levels = torch.cat([torch.full((x[0].numel(),), i) for i, x in enumerate(codes.levels)])
    alike = levels[:, None] == levels[None, :]
    if name == "hierarchical":
        # What is told of coarser levels is told nearby, but all of it is.
        coarse = levels < len(spec.levels) - 1
        assert bool((heeded & ~alike)[coarse].any(dim=1).all())
        later &= alike
    # No blind spot: everything that comes later heeds it (but for rare effects too small to see).
    assert float(heeded[later].double().mean()) > 0.97


@every_prior
def test_the_logits_of_sampling_are_those_of_training_cached_or_not(
    name: str, given: dict[str, Any], spec: CodeSpec
) -> None:
    prior: Any = make(name, given, spec)
    codes = some_codes(prior, 3)
    layout = prior.network.lay_out(codes.extent)
    flat, told = flat_of(codes), Condition(torch.tensor([0, 2, -1]))
    with torch.inference_mode():
        cost = flat_of(Codes(spec, prior.nll(codes, condition=told.classes), codes.extent))
        runs = [prior.network.run(layout, told, cached=cached) for cached in (True, False)]
        for step, cells in enumerate(layout.cells.tolist()):
            partial = flat.clone()
            partial[:, steps_of(prior, codes.extent) >= step] = 0  # not known yet
            cached, whole = (run(partial, step) for run in runs)
            for slot, cell in enumerate(cell for cell in cells if cell >= 0):
                torch.testing.assert_close(cached[slot], whole[slot], atol=1e-4, rtol=1e-5)
                nats = -cached[slot].log_softmax(dim=1).gather(1, flat[:, cell : cell + 1])[:, 0]
                torch.testing.assert_close(nats, cost[:, cell], atol=1e-4, rtol=1e-5)


@every_prior
def test_a_sample_depends_on_its_number_and_the_seed_alone(
    name: str, given: dict[str, Any], spec: CodeSpec
) -> None:
    prior = make(name, given, spec)
    condition = torch.tensor([0, 1, 2, -1])
    settings: dict[str, Any] = {"seed": 5, "temperature": 0.9, "top_p": 0.95}
    extent = EXTENTS[spec]
    together = prior.sample(4, extent, condition=condition, **settings).check()
    uncached = prior.sample(4, extent, condition=condition, cached=False, **settings)
    alone = prior.sample(1, extent, condition=condition[2:3], first=2, **settings)
    other = prior.sample(4, extent, condition=condition, **settings | {"seed": 6})
    assert torch.equal(flat_of(together), flat_of(uncached))
    assert torch.equal(flat_of(together)[2:3], flat_of(alone))
    assert not torch.equal(flat_of(together), flat_of(other))


@every_prior
def test_a_prompt_is_kept_and_the_rest_depends_on_it(
    name: str, given: dict[str, Any], spec: CodeSpec
) -> None:
    prior = make(name, given, spec)
    extent = EXTENTS[spec]
    kept = some_codes(prior, 1, seed=3)
    found = prior.sample(2, extent, prompt=Prompt(kept, 1), seed=1)
    free = prior.sample(2, extent, seed=1)
    for number, level in enumerate(spec.levels):
        axis = 1 + next(i for i, each in enumerate(level.axes) if each != "q")
        ratio = spec.levels[0].stride[0] // level.stride[0] if level.stride else 1
        ours = found.levels[number].narrow(axis, 0, ratio)
        theirs = kept.levels[number].narrow(axis, 0, ratio)
        assert torch.equal(ours, theirs.expand_as(ours))
    assert not torch.equal(flat_of(found), flat_of(free))
    everything = prior.sample(1, extent, prompt=Prompt(kept, 1000), seed=1)
    assert torch.equal(flat_of(everything), flat_of(kept))


@every_prior
def test_the_loss_is_the_mean_over_codes_and_reaches_all_weights(
    name: str, given: dict[str, Any], spec: CodeSpec
) -> None:
    prior: Any = make(name, given, spec)
    codes = some_codes(prior, 5)
    condition = torch.tensor([0, 1, 2, -1, 1])
    loss = prior(codes, condition=condition)
    nats = prior.nll(codes, condition=condition)
    assert [each.shape for each in nats] == [each.shape for each in codes.levels]
    torch.testing.assert_close(loss, flat_of(Codes(spec, nats, codes.extent)).mean())
    loss.backward()
    still = [key for key, each in prior.named_parameters() if each.grad is None]
    assert still == []


@pytest.mark.parametrize(("name", "given", "spec"), LEARNERS)
def test_a_small_prior_learns_a_small_set_by_class(
    name: str, given: dict[str, Any], spec: CodeSpec
) -> None:
    torch.manual_seed(0)
    prior: Any = make(name, given | {"unlabelled": 0.0}, spec)
    for module in prior.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    codes, condition = some_codes(prior, 3), torch.arange(3)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=1e-2, weight_decay=0.0)
    prior.train()
    for _ in range(150):
        loss = prior(codes, condition=condition)
        if loss.item() < 0.02:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
    assert float(loss.detach()) < 0.1
    found = prior.sample(3, codes.extent, condition=condition, temperature=0.0)
    assert float((flat_of(found) == flat_of(codes)).double().mean()) > 0.95
    assert prior.training


def test_hidden_classes_are_those_of_no_class() -> None:
    prior: Any = make("transformer", {"dropout": 0.0, "unlabelled": 1.0}, VARIANTS[0][2])
    codes = some_codes(prior, 3)
    with torch.no_grad():
        none = prior(codes)
        told = prior(codes, condition=torch.arange(3))
        prior.train()
        hidden = prior(codes, condition=torch.arange(3))
    torch.testing.assert_close(hidden, none)
    assert not torch.allclose(told, none)


def test_guidance_moves_away_from_what_no_class_gives() -> None:
    prior: Any = make("transformer", {}, VARIANTS[0][2])
    extent = EXTENTS[prior.spec]
    condition = torch.tensor([1])

    def gain(guidance: float) -> float:
        codes = prior.sample(48, extent, condition=condition, guidance=guidance, seed=2)
        with torch.no_grad():
            told = prior(codes, condition=condition)
            return float(prior(codes) - told)

    assert gain(0.0) < gain(1.0) < gain(3.0)
    unguided = prior.sample(4, extent, seed=2)
    with_none = prior.sample(4, extent, condition=condition, guidance=0.0, seed=2)
    assert torch.equal(flat_of(unguided), flat_of(with_none))


def test_near_ties_are_made_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = make("transformer", {}, VARIANTS[0][2])
    extent = EXTENTS[prior.spec]
    expected = prior.sample(3, extent, seed=4, top_k=4)
    # A tolerance so large that all are near ties: every choice is then made by the float64 copy.
    monkeypatch.setattr("vqtok.priors._sampling.TOLERANCE", 100.0)
    assert torch.equal(flat_of(prior.sample(3, extent, seed=4, top_k=4)), flat_of(expected))


def test_progress_counts_to_the_end() -> None:
    prior: Any = make("transformer", {}, VARIANTS[0][2])
    seen: list[tuple[int, int]] = []
    prior.sample(1, EXTENTS[prior.spec], progress=lambda done, total: seen.append((done, total)))
    steps = prior.network.lay_out(EXTENTS[prior.spec]).steps
    assert seen == [(step + 1, steps) for step in range(steps)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"extent": (5,)},
        {"extent": (0, 5)},
        {"seed": -1},
        {"first": -1},
        {"temperature": -1.0},
        {"guidance": 2.0},
        {"condition": torch.tensor([3])},
        {"condition": torch.tensor([-2])},
        {"condition": torch.tensor([0, 1, 2])},
        {"condition": torch.tensor([0.0])},
    ],
    ids=str,
)
def test_what_cannot_be_sampled_is_refused(wrong: dict[str, Any]) -> None:
    prior = make("transformer", {}, VARIANTS[0][2])
    asked: dict[str, Any] = {"count": 2, "extent": EXTENTS[prior.spec]} | wrong
    with pytest.raises(UsageError):
        prior.sample(**asked)


def test_prompts_that_do_not_fit_are_refused() -> None:
    prior = make("transformer", {}, VARIANTS[0][2])
    other = make("transformer", {}, VARIANTS[1][2])
    good = some_codes(prior, 3)
    extent = good.extent
    for prompt, place in (
        (Prompt(good, 1), extent),  # three items for two
        (Prompt(some_codes(prior, 1), -1), extent),
        (Prompt(some_codes(prior, 1), 1), (extent[0], extent[1] + 8)),
        (Prompt(some_codes(prior, 1), 9), (extent[0] + 40, extent[1])),
        (Prompt(some_codes(other, 1), 1), extent),
    ):
        with pytest.raises(UsageError, match="prompt"):
            prior.sample(2, place, prompt=prompt)


def test_a_clip_goes_on_from_a_shorter_one() -> None:
    prior = make("transformer", {"pattern": "delay"}, VARIANTS[1][2])
    start = some_codes(prior, 1)
    frames = start.levels[0].shape[-1]
    found = prior.sample(2, (1200,), prompt=Prompt(start, frames)).check()
    assert torch.equal(found.levels[0][..., :frames], start.levels[0].expand(2, -1, -1))


def test_codes_of_another_tokenizer_or_depth_are_refused() -> None:
    prior = make("transformer", {"depth": 2}, VARIANTS[1][2])
    full = some_codes(make("transformer", {}, VARIANTS[1][2]), 2)
    assert torch.equal(prior(full), prior(full.truncate(2)))
    with pytest.raises(UsageError, match="stages"):
        prior(full.truncate(1))
    with pytest.raises(UsageError, match="tokenizer"):
        prior(some_codes(make("transformer", {}, VARIANTS[0][2]), 2))
    with pytest.raises(UsageError, match="classes"):
        bare = make("transformer", {}, VARIANTS[0][2], classes=False)
        bare(some_codes(bare, 1), condition=torch.tensor([0]))
