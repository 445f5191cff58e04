from __future__ import annotations

import json
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import UsageError
from vqtok.metrics.report import METRICS, PROTOCOLS, RATES, Running, plain, select

FINITE = st.floats(-1e6, 1e6)


@given(values=st.lists(FINITE, min_size=2, max_size=40))
def test_mean_and_sd_equal_the_statistics_module(values: list[float]) -> None:
    running = Running()
    for value in values:
        running.add(value)
    found = running.statistic
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-6)
    assert found.sd == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-3)
    assert (found.n, found.left_out) == (len(values), 0)


def test_undefined_and_infinite_values_are_told_not_averaged() -> None:
    running = Running()
    for value in (math.nan, 1.0, math.inf, 3.0, -math.inf):
        running.add(value)
    found = running.statistic
    assert (found.mean, found.n, found.left_out) == (2.0, 2, 3)
    assert found.sd == pytest.approx(math.sqrt(2))


def test_one_value_has_no_spread_and_none_has_no_mean() -> None:
    running = Running()
    assert math.isnan(running.statistic.mean)
    running.add(7.0)
    assert running.statistic.mean == 7.0
    assert running.statistic.to_json() == {"mean": 7.0, "sd": None, "n": 1, "left_out": 0}


def test_json_numbers_are_strict_json() -> None:
    values = [plain(value) for value in (math.nan, math.inf, -math.inf, 1 / 3)]
    assert json.dumps(values, allow_nan=False) == '[null, "inf", "-inf", 0.333333]'


def test_cells_show_the_columns_decimals() -> None:
    psnr = select(["psnr"])[0]
    cells = [psnr.format(value) for value in (24.7349, math.nan, None, math.inf, -math.inf, -0.001)]
    assert cells == ["24.73", "-", "-", "inf", "-inf", "0.00"]
    assert psnr.heading == "PSNR dB"


def test_columns_come_in_their_own_order_once() -> None:
    assert [c.name for c in select(["ssim", "psnr", "ssim"])] == ["psnr", "ssim"]


def test_an_unknown_metric_is_named_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="--metrics pnsr: unknown metric") as caught:
        select(["pnsr"])
    assert caught.value.hint == "did you mean psnr?"
    with pytest.raises(UsageError) as caught:
        select(["quality"])
    assert caught.value.hint is not None
    assert "psnr, ssim" in caught.value.hint


def test_every_column_states_its_protocol_and_has_its_own_key() -> None:
    columns = (*METRICS, *RATES)
    assert len({column.key for column in columns}) == len(columns)
    for column in columns:
        assert column.protocol
        assert column.modality in PROTOCOLS
