"""kill -9 after any step, and the same run again with --resume: the same bits as without a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.programs import LIMIT_S
from tests.training.conftest import IMAGE_EDITS
from vqtok.checkpoints import resume

CHILD = """
import json, os, signal, sys
from pathlib import Path
from vqtok.training.train import train

data, output, edits, resuming, fatal = json.loads(sys.argv[1])
steps = 0

def killed():
    global steps
    steps += 1
    if steps == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return False

for _ in train([data], Path(output), edits=edits, resuming=resuming, device="cpu",
               should_stop=killed):
    pass
"""

PLAN = [
    *IMAGE_EDITS,
    "train.steps=14",
    "train.evaluate_every=4",
    "train.average=0.9",
    "train.accumulate=2",
    "train.adversarial={}",
    "train.adversarial.ramp=4",
    "train.adversarial.width=4",
    "model.quantizer.revive_every=3",
]


def go(photos: Path, output: Path, *, resuming: bool, fatal: int) -> int:
    """Steps until the kill are counted from where the run goes on; 0: no kill."""
    said = json.dumps([str(photos), str(output), [] if resuming else PLAN, resuming, fatal])
    child = [sys.executable, "-c", CHILD, said]
    return subprocess.run(child, timeout=LIMIT_S, check=False, stderr=subprocess.DEVNULL).returncode


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_equals_one_that_is_not(
    photos: Path, tmp_path: Path
) -> None:
    assert go(photos, tmp_path / "whole", resuming=False, fatal=0) == 0
    parts = tmp_path / "parts"
    assert go(photos, parts, resuming=False, fatal=2) == -9  # before anything was measured
    assert go(photos, parts, resuming=True, fatal=7) == -9
    assert resume.read_state(parts)["step"] == 4
    assert go(photos, parts, resuming=True, fatal=0) == 0
    whole, found = (load_file(each / resume.FILE) for each in (tmp_path / "whole", parts))
    assert whole.keys() == found.keys()
    for name, value in whole.items():
        assert torch.equal(value, found[name]), name
    for name in ("model.safetensors", "config.json"):
        assert (parts / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {each.name for each in parts.iterdir()} == {
        each.name for each in (tmp_path / "whole").iterdir()
    }
