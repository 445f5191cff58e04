"""One declaration says everything about a number."""

from __future__ import annotations

import importlib.util
import json
import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import UsageError
from vqtok.metrics.audio import DELAY, MEL, PESQ, SI_SDR, STOI
from vqtok.metrics.codebook import USE
from vqtok.metrics.image import PSNR
from vqtok.metrics.metric import Metric, Running, plain, weighted_mean

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


def test_cells_show_the_metrics_decimals() -> None:
    cells = [PSNR.format(v) for v in (24.7349, math.nan, None, math.inf, -math.inf, -0.001)]
    assert cells == ["24.73", "-", "-", "inf", "-inf", "0.00"]
    assert (PSNR.heading, PSNR.text(24.7349), USE.text(0.25)) == ("PSNR dB", "24.73 dB", "25.0%")


def test_better_is_more_or_less_or_neither() -> None:
    assert PSNR.is_better(2.0, 1.0) and not PSNR.is_better(1.0, 1.0)
    assert MEL.is_better(1.0, 2.0) and not MEL.is_better(1.0, 1.0)
    assert not DELAY.is_better(1.0, 2.0) and not DELAY.is_better(2.0, 1.0)


def test_items_and_segments_count_where_they_are_defined() -> None:
    values = torch.tensor([1.0, math.nan, 3.0])
    metric = Metric("key", "title", measure=lambda x, y: values)
    assert metric.value(values, values) == 2.0
    values = values * math.nan
    assert math.isnan(metric.value(values, values))
    parts = [(1.0, {"a": 1.0, "b": math.nan}), (3.0, {"a": 2.0, "b": math.nan})]
    assert weighted_mean(parts)["a"] == 1.75
    assert math.isnan(weighted_mean(parts)["b"])


@pytest.mark.parametrize("metric", [PESQ, STOI])
def test_a_missing_package_is_one_line_that_says_what_to_install(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    assert not metric.is_installed
    assert metric.measure is not None
    with pytest.raises(
        UsageError, match=rf"^{metric.name}: needs the package \w+, which is not"
    ) as caught:
        metric.measure(torch.zeros(1, 100), torch.zeros(1, 100), rate=24000)
    assert caught.value.hint == "pip install 'vqtok[metrics]'"


def test_metrics_of_vqtok_itself_are_always_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    for metric in (PSNR, SI_SDR, MEL):
        metric.require()
