"""The log of a run that is gone on with: what is sound in it is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vqtok.training.log import Evaluated, Journal, Progress, Warned, list_unreadable, records

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


def test_what_is_written_is_read_again_and_goes_on_from_a_step(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    journal = Journal(path, first_step=0)
    journal.write(Progress(10, {"mse": 0.5}, None, None, 1e-3, 5.0, 9.0, 1, latents={"kl": 2.0}))
    journal.write(Warned(11, "caf\udce9.png: unreadable"))
    journal.write(Evaluated(20, 3.0, {"psnr_db": float("inf")}, ("previews/a.png",), best=True))
    found = records(path)
    assert [each["event"] for each in found] == ["progress", "warned", "evaluated"]
    assert (found[0]["use"], found[0]["latents"]) == (None, {"kl": 2.0})
    assert found[1]["text"] == "caf\udce9.png: unreadable"
    assert (found[2]["best"], found[2]["metrics"]) == (True, {"psnr_db": None})
    Journal(path, first_step=11)
    assert [each["step"] for each in records(path)] == [10, 11]


def test_there_are_no_records_without_a_log(tmp_path: Path):
    assert records(tmp_path / "log.jsonl") == []


def test_the_list_of_unreadable_files_is_sorted_and_goes_when_there_are_none(tmp_path: Path):
    list_unreadable(tmp_path, {"b.png": "truncated", "a\udce9.png": "empty\nfile"})
    lines = (tmp_path / "unreadable.txt").read_bytes().splitlines()
    assert lines == [b"a\xe9.png: empty\xef\xbf\xbdfile", b"b.png: truncated"]
    list_unreadable(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
