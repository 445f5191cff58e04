"""What is drawn of a run: true to its log."""

from __future__ import annotations

from vqtok.training.report.cards import curves_of as curves


def progress(step: int, loss: float, use: float | None = 0.5) -> dict:
    return {"event": "progress", "step": step, "losses": {"a": loss / 2, "b": loss / 2}, "use": use}


def evaluated(step: int, value: float | None, best: bool = False) -> dict:
    return {"event": "evaluated", "step": step, "metrics": {"psnr_db": value}, "best": best}


def test_there_is_a_curve_for_loss_held_out_metric_and_use():
    found = curves(
        [progress(10, 1.0), evaluated(15, 20.0), progress(20, 0.5), evaluated(25, 22.0, best=True),
         {"event": "warned", "step": 26, "text": "x"}, evaluated(30, 21.0)]
    )  # fmt: skip
    assert [curve.title for curve in found] == [
        "training loss", "held out: psnr dB, best 22 at step 25", "codebook use, %",
    ]  # fmt: skip
    assert found[0].points == [(10, 1.0), (20, 0.5)]
    assert (found[1].best, found[2].points) == (25, [(10, 50.0), (20, 50.0)])


def test_a_continuous_run_has_no_curve_of_use_and_a_short_one_none_at_all():
    found = curves([progress(1, 1.0, use=None), progress(2, 1.0, use=None)])
    assert [curve.title for curve in found] == ["training loss"]
    assert curves([progress(1, 1.0), evaluated(1, 3.0)]) == []
    assert curves([]) == []


def test_values_that_were_not_finite_are_left_out():
    records = [progress(1, 1.0), progress(2, 1.0), evaluated(1, None), evaluated(2, 1.0)]
    records[0]["losses"]["c"] = None
    assert [curve.title for curve in curves(records)] == ["training loss", "codebook use, %"]
