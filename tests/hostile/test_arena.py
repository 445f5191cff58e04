"""The judge of hostile input notices each kind of broken promise, and damages files by seed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import arena, pictures, recordings
from tests.hostile.mutations import mutate, mutate_json, seal_flac, seal_ogg, seal_png
from tests.hostile.rooms import TrapRoom


@pytest.mark.slow
def test_every_broken_promise_is_noticed(tmp_path: Path):
    report = arena.run(tmp_path, [("trap", 0, len(TrapRoom.TRAPS))], cpu_s=2.0)
    found = {text.split(": ")[1].splitlines()[0]: text for text in report.faults}
    assert set(found) == {"escape", "hang", "allocate", "touch", "crash", "lie",
                          "written outside of the output"}  # fmt: skip
    expected = {
        "escape": "escaped: Traceback", "hang": "died: SIGPROF", "allocate": "escaped: Traceback",
        "touch": "memory: ", "crash": "died: SIGSEGV", "lie": "fault: ",
    }  # fmt: skip
    for trap, words in expected.items():
        assert words in found[trap]
        assert (
            f"again: python -m tests.hostile.worker FOLDER trap:{TrapRoom.TRAPS.index(trap)}:1"
            in (found[trap])
        )
    assert report.of("trap") == {"escaped": 2, "died": 2, "memory": 1, "fault": 1, "read": 2,
                                 "noise": 1}  # fmt: skip
    assert "litter" in found["written outside of the output"]


@given(st.integers(0, 2**32))
def test_the_same_seed_is_the_same_damage(seed: int):
    files = [*pictures.seeds().values(), *recordings.seeds().values()]
    data = files[seed % len(files)]
    first = mutate(data, random.Random(seed), files)
    assert first == mutate(data, random.Random(seed), files)
    text = '{"a": [1, {"b": "c"}], "d": null}'
    once = mutate_json(text, random.Random(seed))
    assert once == mutate_json(text, random.Random(seed))


def test_most_damage_is_damage():
    files = list(pictures.seeds().values())
    changed = sum(
        mutate(data, random.Random(seed), files).data != data
        for seed in range(10)
        for data in files
    )
    assert changed > 9 * len(files)


@pytest.mark.parametrize(
    ("name", "seal"), [("png", seal_png), ("ogg", seal_ogg), ("flac", seal_flac)]
)
def test_sealing_a_sound_file_changes_nothing(name: str, seal):
    files = {**pictures.seeds(), **recordings.seeds()}
    for title, data in files.items():
        if title.startswith(name):
            assert seal(data) == data
