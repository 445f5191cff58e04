"""Damaged files of every kind: a clean error or a sound result, within bounds.

A failure prints one line ``again: …`` per input, which tries that input alone and keeps its bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hostile import arena
from tests.hostile.conftest import ROOMS, SHORT, SHORT_FIRST
from tests.hostile.crafted import MARKER
from tests.hostile.programs import FORMS, CheckpointRoom
from tests.hostile.room import CRAFTED, EVERY, SOME

LONG = int(os.environ.get("VQTOK_HOSTILE", "12000"))
"""Inputs of the long run, over all rooms."""


def check(report: arena.Report, room: str, *, at_least: int) -> None:
    assert not report.faults_of(room), report.faults_of(room)
    counts = report.of(room)
    assert sum(counts.values()) >= at_least
    # Damage that is always refused, or never, would try one half of the code only.
    assert 0.03 < sum(counts.get(each, 0) for each in arena.USED) / sum(counts.values()) < 0.8


def test_what_is_tried_of_files_made_by_hand_is_of_every_form(tmp_path: Path):
    made = CheckpointRoom(tmp_path, tmp_path)
    names = [name for name, _ in made.chosen(SOME)]
    assert len(names) >= len(made.crafted) // EVERY
    assert {name.rpartition(", ")[2] for name in names} == set(FORMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_damaged_file_is_a_clean_error_or_a_sound_result(short_run: arena.Report, room: str):
    check(short_run, room, at_least=SHORT[room])


def test_nothing_is_written_outside_of_the_output(short_run: arena.Report):
    assert not short_run.faults_of("all"), short_run.faults_of("all")
    assert not Path(MARKER).exists()


@pytest.mark.slow
def test_all_files_made_by_hand_and_more_damaged_ones_are_clean_errors_or_sound_results(
    tmp_path: Path,
):
    tasks = [(room, SHORT_FIRST, 70) for room in ROOMS] + [(room, CRAFTED, 1000) for room in ROOMS]
    report = arena.run(tmp_path, tasks)
    assert not report.faults, "\n\n".join(report.faults)
    for room in ROOMS:
        check(report, room, at_least=70)
    assert not Path(MARKER).exists()


@pytest.mark.long
@pytest.mark.parametrize("room", ROOMS)
def test_many_damaged_files(tmp_path: Path, room: str):
    each = -(-LONG // len(ROOMS))
    report = arena.run(tmp_path, [(room, 0, each)])
    for result, count in sorted(report.of(room).items()):
        print(f"{room}: {result}: {count}")
    print(f"{room}: slowest {report.slowest}, largest {report.largest}")
    assert not report.faults_of("all"), report.faults_of("all")
    check(report, room, at_least=each)
