"""The monitor counts right, warns once of what is wrong, and is the same after a resume."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vqtok.codes.spec import LevelSpec
from vqtok.errors import TrainingError
from vqtok.training.monitor import HOPELESS, RESTARTS, WINDOW, Monitor, MonitorState

GRID = LevelSpec("codes", ("h", "w"), 50, (8, 8))
STACK = LevelSpec("codes", ("q", "t"), 20, (8,), depth=3)
CALM = {"mse": 1.0, "commitment": 0.1}


def observe(
    monitor: Monitor,
    codes: Tensor,
    *,
    steps: int = WINDOW,
    first: int = 1,
    restart: Callable[[int], bool] = lambda level: False,
    **losses: float,
) -> list[str]:
    """All warnings of some steps."""
    return [
        line
        for step in range(first, first + steps)
        for line in monitor.observe(
            step, codes=[codes], losses=CALM | losses, finite=True, restart=restart
        )
    ]


def some(count: int, *, shape: tuple[int, ...] = (2, 10, 10)) -> Tensor:
    """Codes that use ``count`` entries."""
    size = torch.Size(shape).numel()
    return (torch.arange(size) % count).reshape(shape)


def test_use_and_perplexity_are_those_of_the_codes() -> None:
    monitor = Monitor([GRID])
    observe(monitor, some(25))
    use, perplexity = monitor.use() or (0, 0)
    assert use == 0.5
    assert perplexity == pytest.approx(25, rel=1e-6)


def test_stages_are_counted_apart() -> None:
    monitor = Monitor([STACK])
    codes = torch.stack([some(20, shape=(2, 40)), some(10, shape=(2, 40)), some(5, shape=(2, 40))])
    observe(monitor, codes.movedim(0, 1))
    use, perplexity = monitor.use() or (0, 0)
    assert use == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert perplexity == pytest.approx((20 + 10 + 5) / 3, rel=1e-6)


def test_before_a_whole_window_the_present_one_is_shown() -> None:
    monitor = Monitor([GRID])
    assert monitor.use() is None
    observe(monitor, some(10), steps=3)
    assert (monitor.use() or (0,))[0] == pytest.approx(0.2)


def test_a_continuous_model_has_no_use() -> None:
    monitor = Monitor([])
    monitor.observe(1, codes=[], losses={"mse": 1.0}, finite=True, restart=bool)
    assert monitor.use() is None


def test_a_well_run_gets_no_word() -> None:
    monitor = Monitor([GRID])
    for window in range(4):
        assert observe(monitor, some(50 - window), first=1 + window * WINDOW) == []


def test_falling_use_restarts_the_codebook_a_few_times_only() -> None:
    monitor = Monitor([GRID])
    observe(monitor, some(48))
    restarted: list[int] = []
    for window in range(1, RESTARTS + 2):
        (line,) = observe(
            monitor, some(5), first=1 + window * WINDOW, restart=lambda n: not restarted.append(n)
        )
        assert "use fell to 10%" in line
        monitor.state.levels[0].best_use = 0.96  # as if the restart had helped
    assert restarted == [0] * RESTARTS
    assert "learning_rate" in line


def test_a_runaway_commitment_restarts_the_codebook() -> None:
    (line,) = observe(Monitor([GRID]), some(48), commitment=30.0, restart=lambda level: True)
    assert "commitment is 30 times" in line
    assert "placed anew by k-means" in line


def test_a_codebook_that_may_not_be_placed_anew_is_warned_of_all_the_same() -> None:
    (line,) = observe(Monitor([GRID]), some(48), commitment=30.0)
    assert "commitment is 30 times" in line
    assert "anew" not in line


def test_a_codebook_that_was_placed_anew_is_counted_anew() -> None:
    monitor = Monitor([GRID])
    observe(monitor, some(48), commitment=30.0, restart=lambda level: True)
    assert monitor.use() is None
    assert observe(monitor, some(5), first=1 + WINDOW) == []


def skip(monitor: Monitor, step: int, *, excused: bool = False) -> list[str]:
    losses = {"mse": torch.nan}
    return monitor.observe(
        step, codes=[], losses=losses, finite=False, restart=bool, excused=excused
    )


def test_a_skipped_step_is_said_once_and_many_halve_the_rate() -> None:
    monitor = Monitor([GRID])
    said = [skip(monitor, step) for step in range(1, 21)]
    assert [bool(each) for each in said] == [i in (0, 9, 19) for i in range(20)]
    assert monitor.state.rate_scale == 0.25
    assert monitor.state.skipped == 20


def test_a_step_that_is_taken_ends_the_row() -> None:
    monitor = Monitor([GRID])
    for step in range(1, 40):
        skip(monitor, step) if step % 2 else observe(monitor, some(50), steps=1, first=step)
    assert monitor.state.rate_scale == 1.0
    assert monitor.state.skipped == 20


def test_a_hopeless_run_ends_with_what_to_try() -> None:
    monitor = Monitor([GRID])
    with pytest.raises(TrainingError, match="diverged") as error:
        for step in range(1, HOPELESS + 1):
            skip(monitor, step)
    assert step == HOPELESS
    assert "learning_rate" in (error.value.hint or "")


def test_excused_steps_are_counted_and_nothing_else() -> None:
    monitor = Monitor([GRID])
    for step in range(1, 2 * HOPELESS):
        assert skip(monitor, step, excused=True) == []
    assert monitor.state.skipped == 2 * HOPELESS - 1


def test_a_resumed_monitor_gives_the_same_warnings() -> None:
    whole = Monitor([GRID])
    observe(whole, some(48), steps=WINDOW + 40)
    resumed = Monitor([GRID])
    resumed.load_state_dict(whole.state_dict())
    resumed.state = MonitorState.from_json(whole.state.to_json())
    rest = WINDOW - 40
    first = WINDOW + 41
    assert observe(whole, some(2), steps=rest, first=first, commitment=99.0) == observe(
        resumed, some(2), steps=rest, first=first, commitment=99.0
    )
    assert whole.state == resumed.state
    assert whole.use() == resumed.use()


TWO = (LevelSpec("top", ("h", "w"), 50, (8, 8)), LevelSpec("bottom", ("h", "w"), 20, (4, 4)))


def observe_two(
    monitor: Monitor,
    top: int,
    bottom: int,
    *,
    first: int = 1,
    restart: Callable[[int], bool] = lambda level: False,
    **losses: float,
) -> list[str]:
    terms = {"mse": 1.0, "commitment_top": 0.1, "commitment_bottom": 0.1} | losses
    codes = [some(top), some(bottom, shape=(2, 20, 20))]
    return [
        line
        for step in range(first, first + WINDOW)
        for line in monitor.observe(step, codes=codes, losses=terms, finite=True, restart=restart)
    ]


def test_levels_are_counted_apart_and_their_mean_is_known() -> None:
    monitor = Monitor(TWO)
    observe_two(monitor, 25, 20)
    uses = monitor.uses()
    assert list(uses) == ["top", "bottom"]
    assert (uses["top"].share, uses["bottom"].share) == (0.5, 1.0)
    assert uses["bottom"].perplexity == pytest.approx(20, rel=1e-6)
    assert monitor.use() == (0.75, pytest.approx((25 + 20) / 2, rel=1e-6))


@pytest.mark.parametrize(("level", "name"), [(0, "top"), (1, "bottom")])
def test_the_level_that_collapses_is_named_and_the_other_left_alone(level: int, name: str) -> None:
    monitor = Monitor(TWO)
    observe_two(monitor, 50, 20)
    now = (50, 2) if level else (5, 20)
    restarted: list[int] = []
    (line,) = observe_two(
        monitor, *now, first=1 + WINDOW, restart=lambda n: not restarted.append(n)
    )
    assert restarted == [level]
    assert line.startswith(f"{name}: codebook use fell to 10% (1 of {RESTARTS})")
    assert monitor.uses() == {}  # one of the two is not known
    assert monitor.state.levels[1 - level].best_use == 1.0


def test_the_level_whose_latents_run_away_is_named() -> None:
    (line,) = observe_two(Monitor(TWO), 50, 20, commitment_bottom=30.0)
    assert line.startswith("bottom: commitment is 30 times")


def test_every_level_is_remembered_across_a_resume() -> None:
    monitor = Monitor(TWO)
    observe_two(monitor, 50, 20)
    observe_two(monitor, 5, 20, first=1 + WINDOW)
    data = monitor.state.to_json()
    assert all(isinstance(value, int | float) for value in data.values())
    assert MonitorState.from_json(data, levels=2) == monitor.state
    # What a run of one level wrote: its level is the first.
    assert MonitorState.from_json({"best_use": 0.5}, levels=2).levels[0].best_use == 0.5
