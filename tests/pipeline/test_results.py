"""What goes wrong with one input, in words for its user."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from vqtok.errors import CheckpointError, CodesError, ConfigError, MediaError, UsageError
from vqtok.pipeline.results import Failed

SOURCE = Path("a.png")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MediaError("a.png", "truncated"), "a.png: truncated"),
        (CodesError("depth 9 is not between 1 and 3"), "a.png: depth 9 is not between 1 and 3"),
        (CodesError("level 'x': too large"), "a.png: level 'x': too large"),
        (CodesError("a.npy", "cannot write: full"), "a.npy: cannot write: full"),
        (CheckpointError("m/model.safetensors", "damaged"), "m/model.safetensors: damaged"),
        (OSError(errno.ENOSPC, "No space left"), "a.png: no space left"),
        (OSError(errno.EACCES, "Denied", "b.npy"), "b.npy: denied"),
        (MemoryError(), "a.png: not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 1"), "a.png: not enough memory"),
        (KeyError("x"), "a.png: internal: KeyError: 'x'"),
    ],
)
def test_every_failure_names_its_subject_once(error, message):
    result = Failed.of(SOURCE, error, has_model=True)
    assert str(result.error) == message
    assert result.error is error or result.error.__cause__ is error


@pytest.mark.parametrize("error", [UsageError("x: y"), ConfigError("x: y")])
def test_mistakes_of_the_command_are_not_of_one_input_until_there_is_a_model(error):
    with pytest.raises(type(error)):
        Failed.of(SOURCE, error, has_model=False)
    assert Failed.of(SOURCE, error, has_model=True).error.exit_code == 2


def test_hints_survive():
    result = Failed.of(None, MediaError("too large", hint="--max-pixels 9"), has_model=True)
    assert (str(result.error), result.error.hint) == ("stdin: too large", "--max-pixels 9")
