"""A run that 0.1.0 has saved goes on as 0.1.0 would have gone on.

``run-0.1.0/`` is what it left at step 5 of 10, with a discriminator and averaged weights, and in
``rest.jsonl`` the log of the rest of the same run without a stop.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from vqtok.checkpoints import resume
from vqtok.training.log import Progress
from vqtok.training.train import train

SAVED = Path(__file__).parent / "run-0.1.0"


def names(folder: Path) -> set[str]:
    with safe_open(folder / resume.FILE, framework="numpy") as stored:
        return set(stored.keys())


def test_it_ends_with_the_losses_of_a_run_without_a_stop(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "m"
    output.mkdir()
    for name in (resume.FILE, "log.jsonl"):
        shutil.copy(SAVED / name, output / name)
    events = list(train([str(photos)], output, resuming=True, device="cpu"))
    progress = [each for each in events if isinstance(each, Progress)][-1]
    lines = (SAVED / "rest.jsonl").read_text().splitlines()
    expected = next(line for line in map(json.loads, lines) if line["event"] == "progress")
    assert progress.step == expected["step"] == 10
    # Other processors add up in another order.
    assert progress.losses == pytest.approx(expected["losses"], rel=1e-3, abs=1e-5)
    assert names(output) == names(SAVED)
    state = resume.read_state(output)
    assert state.keys() == resume.read_state(SAVED).keys()
    assert state["recipe"]["train"]["optimizer"] == "adamw"
