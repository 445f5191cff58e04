"""The watch counts right, sees what is wrong, says it once, and remembers across a resume."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqtok.codes.spec import LevelSpec
from vqtok.errors import TrainingError
from vqtok.training.health import HOPELESS, RESTARTS, WINDOW, Health, Verdict
from vqtok.training.vitals import Vitals

GRID = LevelSpec("codes", ("h", "w"), 50, (8, 8))
STACK = LevelSpec("codes", ("q", "t"), 20, (8,), depth=3)
CALM = {"mse": 1.0, "commitment": 0.1}


def observe(
    health: Health, codes: Tensor, *, steps: int = WINDOW, first: int = 1, **losses: float
) -> list[Verdict]:
    return [
        health.observe(step, codes=[codes], losses=CALM | losses, finite=True)
        for step in range(first, first + steps)
    ]


def told(verdict: Verdict) -> str:
    """The one line that a verdict says."""
    (line,) = (*verdict.warnings, *(why for _, why in verdict.collapsed))
    return line


def some(count: int, *, shape: tuple[int, ...] = (2, 10, 10)) -> Tensor:
    """Codes that use ``count`` entries."""
    size = torch.Size(shape).numel()
    return (torch.arange(size) % count).reshape(shape)


def test_use_and_perplexity_are_those_of_the_codes() -> None:
    health = Health([GRID])
    observe(health, some(25))
    use, perplexity = health.use() or (0, 0)
    assert use == 0.5
    assert perplexity == pytest.approx(25, rel=1e-6)


def test_stages_are_counted_apart() -> None:
    health = Health([STACK])
    codes = torch.stack([some(20, shape=(2, 40)), some(10, shape=(2, 40)), some(5, shape=(2, 40))])
    observe(health, codes.movedim(0, 1))
    use, perplexity = health.use() or (0, 0)
    assert use == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert perplexity == pytest.approx((20 + 10 + 5) / 3, rel=1e-6)


def test_before_a_whole_window_the_present_one_is_shown() -> None:
    health = Health([GRID])
    assert health.use() is None
    observe(health, some(10), steps=3)
    assert (health.use() or (0,))[0] == pytest.approx(0.2)


def test_a_continuous_model_has_no_use() -> None:
    health = Health([])
    health.observe(1, codes=[], losses={"mse": 1.0}, finite=True)
    assert health.use() is None


def test_a_well_run_gets_no_word() -> None:
    health = Health([GRID])
    for window in range(4):
        verdicts = observe(health, some(50 - window), first=1 + window * WINDOW)
        assert verdicts == [Verdict()] * WINDOW


def test_falling_use_asks_for_a_restart_a_few_times_only() -> None:
    health = Health([GRID])
    observe(health, some(48))
    asked = []
    for window in range(1, RESTARTS + 2):
        last = observe(health, some(5), first=1 + window * WINDOW)[-1]
        asked.append(bool(last.collapsed))
        assert "use fell to 10%" in told(last)
        health.vitals.levels[0].best_use = 0.96  # as if the restart had helped
    assert asked == [True] * RESTARTS + [False]
    assert "learning_rate" in told(last)


def test_a_runaway_commitment_asks_for_a_restart() -> None:
    health = Health([GRID])
    verdict = observe(health, some(48), commitment=30.0)[-1]
    assert verdict.collapsed
    assert "commitment is 30 times" in told(verdict)


def test_forgetting_begins_anew() -> None:
    health = Health([GRID])
    observe(health, some(48))
    health.forget(0)
    assert health.use() is None
    assert not observe(health, some(5), first=1 + WINDOW)[-1].collapsed


def skip(health: Health, step: int, **options: bool) -> Verdict:
    return health.observe(step, codes=[], losses={"mse": torch.nan}, finite=False, **options)


def test_a_skipped_step_is_said_once_and_many_halve_the_rate() -> None:
    health = Health([GRID])
    said = [skip(health, step).warnings for step in range(1, 21)]
    assert [bool(each) for each in said] == [i in (0, 9, 19) for i in range(20)]
    assert health.vitals.rate_scale == 0.25
    assert health.vitals.skipped == 20


def test_a_step_that_is_taken_ends_the_row() -> None:
    health = Health([GRID])
    for step in range(1, 40):
        skip(health, step) if step % 2 else observe(health, some(50), steps=1, first=step)
    assert health.vitals.rate_scale == 1.0
    assert health.vitals.skipped == 20


def test_a_hopeless_run_ends_with_what_to_try() -> None:
    health = Health([GRID])
    with pytest.raises(TrainingError, match="diverged") as error:
        for step in range(1, HOPELESS + 1):
            skip(health, step)
    assert step == HOPELESS
    assert "learning_rate" in (error.value.hint or "")


def test_excused_steps_are_counted_and_nothing_else() -> None:
    health = Health([GRID])
    for step in range(1, 2 * HOPELESS):
        assert skip(health, step, excused=True) == Verdict()
    assert health.vitals.skipped == 2 * HOPELESS - 1


def test_a_resumed_watch_reaches_the_same_verdicts() -> None:
    whole = Health([GRID])
    observe(whole, some(48), steps=WINDOW + 40)
    resumed = Health([GRID])
    resumed.load_state_dict(whole.state_dict())
    resumed.vitals = Vitals.from_json(whole.vitals.to_json())
    rest = WINDOW - 40
    first = WINDOW + 41
    assert observe(whole, some(2), steps=rest, first=first, commitment=99.0) == observe(
        resumed, some(2), steps=rest, first=first, commitment=99.0
    )
    assert whole.vitals == resumed.vitals
    assert whole.use() == resumed.use()


TWO = (LevelSpec("top", ("h", "w"), 50, (8, 8)), LevelSpec("bottom", ("h", "w"), 20, (4, 4)))


def observe_two(
    health: Health, top: int, bottom: int, *, first: int = 1, **losses: float
) -> list[Verdict]:
    terms = {"mse": 1.0, "commitment_top": 0.1, "commitment_bottom": 0.1} | losses
    codes = [some(top), some(bottom, shape=(2, 20, 20))]
    return [
        health.observe(step, codes=codes, losses=terms, finite=True)
        for step in range(first, first + WINDOW)
    ]


def test_levels_are_counted_apart_and_their_mean_is_told() -> None:
    health = Health(TWO)
    observe_two(health, 25, 20)
    uses = health.uses()
    assert list(uses) == ["top", "bottom"]
    assert (uses["top"].share, uses["bottom"].share) == (0.5, 1.0)
    assert uses["bottom"].perplexity == pytest.approx(20, rel=1e-6)
    assert health.use() == (0.75, pytest.approx((25 + 20) / 2, rel=1e-6))


@pytest.mark.parametrize(("level", "name"), [(0, "top"), (1, "bottom")])
def test_the_level_that_collapses_is_named_and_the_other_left_alone(level: int, name: str) -> None:
    health = Health(TWO)
    observe_two(health, 50, 20)
    now = (50, 2) if level else (5, 20)
    verdict = observe_two(health, *now, first=1 + WINDOW)[-1]
    assert verdict.collapsed == ((level, f"{name}: codebook use fell to 10% (1 of {RESTARTS})"),)
    health.forget(level)
    assert health.uses() == {}  # one of the two is not known
    assert health.vitals.levels[1 - level].best_use == 1.0


def test_the_level_whose_latents_run_away_is_named() -> None:
    verdict = observe_two(Health(TWO), 50, 20, commitment_bottom=30.0)[-1]
    assert [index for index, _ in verdict.collapsed] == [1]
    assert told(verdict).startswith("bottom: commitment is 30 times")


def test_every_level_is_remembered_across_a_resume() -> None:
    health = Health(TWO)
    observe_two(health, 50, 20)
    observe_two(health, 5, 20, first=1 + WINDOW)
    data = health.vitals.to_json()
    assert all(isinstance(value, int | float) for value in data.values())
    assert Vitals.from_json(data, levels=2) == health.vitals
    # What a run of one level wrote: its level is the first.
    assert Vitals.from_json({"best_use": 0.5}, levels=2).levels[0].best_use == 0.5
