"""The log of a run that is gone on with: what is sound in it is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vqtok.training.log import Journal

SOUND = [
    {"event": "progress", "step": 3},
    {"event": "evaluated", "step": 3, "metrics": {"psnr": 20.0}},
]


@pytest.mark.parametrize(
    "line",
    [
        b"[1]", b"null", b"7", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"{}", b'{"step": 3}',
        b'{"event": "progress", "step": "3"}', b'{"event": "evaluated", "step": 3}',
        b'{"event": "evaluated", "step": 3, "metrics": [1]}', b'{"event": [], "step": 1}',
    ],
    ids=lambda line: repr(line[-40:]),
)  # fmt: skip
def test_a_damaged_log_is_read_up_to_the_damage(tmp_path: Path, line: bytes):
    path = tmp_path / "log.jsonl"
    sound = "".join(json.dumps(each) + "\n" for each in SOUND).encode()
    path.write_bytes(sound + line + b"\n" + sound)
    journal = Journal(path, first_step=5)
    assert journal.evaluations == SOUND[1:]
    assert [json.loads(each) for each in path.read_text().splitlines()] == SOUND
