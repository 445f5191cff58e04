"""Declared metrics are found, and chosen by name."""

from __future__ import annotations

import importlib.util

import pytest

from vqtok.errors import UsageError
from vqtok.metrics.codebook import RATES
from vqtok.metrics.image import PSNR
from vqtok.metrics.metric import PROTOCOLS
from vqtok.metrics.registry import MEASURES, choose, find, select


def test_metrics_come_in_their_own_order_once() -> None:
    assert [each.name for each in select(["ssim", "psnr", "ssim"])] == ["psnr", "ssim"]


def test_an_unknown_metric_is_named_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="--metrics pnsr: unknown metric") as caught:
        select(["pnsr"])
    assert caught.value.hint == "did you mean psnr?"
    with pytest.raises(UsageError) as caught:
        select(["quality"])
    assert caught.value.hint is not None
    assert "psnr, ssim" in caught.value.hint


def test_every_measure_states_its_protocol_and_names_no_other() -> None:
    assert len({metric.name for metric in MEASURES}) == len(MEASURES)
    for metric in (*MEASURES, *RATES.values()):
        assert metric.protocol
        assert metric.modality in PROTOCOLS


def test_a_metric_of_one_level_is_the_metric_of_all() -> None:
    found = find("use_top")
    assert found is not None
    assert (found.key, found.title, found.text(0.5)) == ("use_top", "codebook use, top", "50.0%")
    assert find("psnr_db") is PSNR
    assert find("psnr") is None and find("fid") is None and find("use_") is None


def test_without_names_all_that_is_installed_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    chosen, notes = choose(None, ["audio"])
    assert {each.name for each in MEASURES} - {each.name for each in chosen} == {"pesq", "stoi"}
    assert notes == ["PESQ-WB and STOI left out; to add: pip install 'vqtok[metrics]'"]
    assert choose(None, ["image"])[1] == []


def test_names_that_are_all_for_other_files_are_refused() -> None:
    with pytest.raises(UsageError, match="--metrics psnr,ssim: not for audio files") as caught:
        choose(["psnr", "ssim"], ["audio"])
    assert str(caught.value.hint).startswith("si-sdr, si-sdr-aligned, delay, mel")
