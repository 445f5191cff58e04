"""A corpus whose writing is cut short anywhere ends as one that was written in one go."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.corpus.samples import Corpus, contents, small
from tests.examples import examples
from tests.programs import LIMIT_S, environment
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.index import is_corpus
from vqtok.errors import CodesError, UsageError

formats = pytest.mark.parametrize("format", FORMATS)
fresh = itertools.count()

STEPS = (
    "write",
    "fsync",
    "replace",
    "unlink",
    "ftruncate",
    "truncate",
    "mkdir",
    "rmdir",
)
"""Every call of os that changes something on the disk."""


class Killed(BaseException):
    """The process is gone: nothing that would handle an error runs to any effect."""


@contextmanager
def killed_at(step: int, *, torn: bool = True) -> Iterator[list[int]]:
    """Let so many steps be taken; cut the next write short; let nothing happen after it."""
    taken = [0]
    real = {name: getattr(os, name) for name in STEPS}

    def hook(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            taken[0] += 1
            if taken[0] > step:
                if taken[0] == step + 1 and name == "write" and torn:
                    file, data = arguments
                    real["write"](file, bytes(data)[: len(data) // 2])
                raise Killed
            return real[name](*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, hook(name))
        yield taken


def attempt(
    corpus: Corpus, folder: Path, format: str, step: int, **options: Any
) -> tuple[bool, set[int], int]:
    """Write until killed: whether it was finished, what was recorded, how many steps it took."""
    recorded: set[int] = set()
    finished = False
    with killed_at(step) as taken:
        try:
            with corpus.open(folder, format, **options) as writer:
                for number in reversed(list(writer.pending())):
                    corpus.put(writer, number)
                    recorded.add(number)
                writer.finish()
                finished = True
        except Killed:
            pass
    return finished, recorded, taken[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interrupted")


@pytest.mark.slow
@formats
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_killed_at_any_step_it_resumes_to_the_same_bytes(place: Path, format: str, kind: str):
    corpus = small(kind, count=7)
    whole = place / str(next(fresh))
    finished, _, steps = attempt(corpus, whole, format, 10**9)
    assert finished
    assert steps > 50
    expected = contents(whole)
    for step in range(steps):
        folder = place / str(next(fresh))
        finished, recorded, _ = attempt(corpus, folder, format, step)
        if step % 2:  # what was torn must not tear what follows it
            recorded |= attempt(corpus, folder, format, 25)[1]
        with corpus.open(folder, format) as writer:
            left = set(writer.pending())
            assert not left & recorded
            for number in sorted(left):
                corpus.put(writer, number)
            writer.finish()
        assert contents(folder) == expected, f"killed at step {step}"
        assert finished or step < steps


@formats
@examples(10, many=25)
@given(steps=st.lists(st.integers(0, 60), max_size=8), seed=st.integers(0, 99))
def test_killed_again_and_again_it_resumes_to_the_same_bytes(
    place: Path, format: str, steps: list[int], seed: int
):
    corpus = small("audio", count=9, seed=seed)
    once, often = place / str(next(fresh)), place / str(next(fresh))
    corpus.write(once, format)
    for step in steps:
        attempt(corpus, often, format, step)
    corpus.write(often, format)
    assert contents(once) == contents(often)


@pytest.mark.slow
@formats
@pytest.mark.parametrize("was_complete", [True, False])
def test_killed_while_starting_over_it_ends_in_the_new_job_alone(
    place: Path, format: str, was_complete: bool
):
    old, new = small("image", job="old", count=6), small("audio", job="new", count=4)
    expected = place / str(next(fresh))
    new.write(expected, format)
    for step in range(10**6):
        folder = place / str(next(fresh))
        if was_complete:
            old.write(folder, format)
        else:
            attempt(old, folder, format, 45)
            assert is_corpus(folder)
        (folder / "notes.txt").write_text("mine")
        before = contents(folder)
        finished, _, _ = attempt(new, folder, format, step, restart=True)
        after = contents(folder)
        if "index.json" in before and after.get("index.json") == before["index.json"]:
            # What lacks anything must not look complete.
            assert {name: after.get(name) for name in before} == before
        try:
            new.write(folder, format)
        except UsageError as error:  # nothing had been deleted yet
            assert "another job" in str(error)
            after = contents(folder)
            assert {name: after[name] for name in before} == before
            new.write(folder, format, restart=True)
        assert contents(folder) == {**contents(expected), "notes.txt": b"mine"}, step
        if finished:
            return


@formats
def test_a_full_disk_is_an_error_and_the_next_run_goes_on(place: Path, format: str, monkeypatch):
    corpus = small(count=7)
    once, folder = place / str(next(fresh)), place / str(next(fresh))
    corpus.write(once, format)
    real = os.write
    for allowed in range(0, 40, 3):
        calls = itertools.count()

        def full(file: int, data: Any, calls=calls, allowed=allowed) -> int:
            if next(calls) >= allowed:
                raise OSError(28, "No space left on device")
            return real(file, bytes(data)[: max(1, len(data) // 2)])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(CodesError, match="cannot write: No space left"):
                corpus.write(folder, format)
    corpus.write(folder, format)
    assert contents(once) == contents(folder)


@formats
def test_what_a_full_disk_refused_can_be_added_when_there_is_room(place: Path, format: str):
    corpus = small(count=7)
    once, folder = place / str(next(fresh)), place / str(next(fresh))
    corpus.write(once, format)
    real = os.write

    def full(file: int, data: Any) -> int:
        if len(data) < 9:
            raise OSError(28, "No space left on device")
        return real(file, bytes(data)[:-8])

    with corpus.open(folder, format) as writer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(CodesError, match="No space left"):
                corpus.put(writer, 0)
        for number in range(7):
            corpus.put(writer, number)
        writer.finish()
    assert contents(once) == contents(folder)


@formats
def test_after_a_shard_could_not_be_written_nothing_more_is_taken(place: Path, format: str):
    corpus = small(count=7)
    once, folder = place / str(next(fresh)), place / str(next(fresh))
    corpus.write(once, format)

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with corpus.open(folder, format) as writer:
        corpus.put(writer, 0)
        corpus.put(writer, 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", refuse)
            with pytest.raises(CodesError, match="No space left"):
                corpus.put(writer, 2)
        for number in (3, 4):
            with pytest.raises(CodesError, match="run the command again"):
                corpus.put(writer, number)
    corpus.write(folder, format)
    assert contents(once) == contents(folder)


PROGRAM = """
import sys, time
from pathlib import Path
from tests.corpus.samples import small
corpus, format = small("audio", count=120), sys.argv[2]
with corpus.open(Path(sys.argv[1]), format) as writer:
    print("open", flush=True)
    for number in list(writer.pending()):
        corpus.put(writer, number)
        time.sleep(0.002)
    writer.finish()
"""


@pytest.mark.slow
@formats
def test_kill_minus_nine_at_random_moments(tmp_path: Path, format: str):
    moments = random.Random(FORMATS.index(format))
    corpus = small("audio", count=120)
    corpus.write(tmp_path / "once", format)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "killed"), format]
    kills = 0
    while True:
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0, 0.15))
            if kills < 6:
                process.kill()
            code = process.wait(LIMIT_S)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills > 1
    assert contents(tmp_path / "once") == contents(tmp_path / "killed")
    corpus.assert_read_back(tmp_path / "killed")
