"""Errors: exit codes and hints."""

from __future__ import annotations

import copy
import pickle

import pytest

from vqtok import errors
from vqtok.errors import ExitCode, VqtokError

CHILDREN = [each for each in vars(errors).values() if isinstance(each, type)]
CHILDREN = [each for each in CHILDREN if issubclass(each, VqtokError)]


@pytest.mark.parametrize("child", CHILDREN)
def test_the_tree_in_the_docstring_states_every_exit_code(child: type[VqtokError]):
    line = next(line for line in str(errors.__doc__).splitlines() if child.__name__ in line)
    assert int(line.split(child.__name__)[1].split()[0]) == child.exit_code


def test_exit_codes_are_those_of_the_shell():
    assert [int(code) for code in ExitCode] == [0, 1, 2, 130, 141]


@pytest.mark.parametrize("child", CHILDREN)
def test_message_and_hint_survive_copies_and_processes(child: type[VqtokError]):
    error = child("cat.bmp: cannot read image", hint="supported: png")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), again.hint) == (child, str(error), error.hint)


def test_a_hint_is_not_needed():
    assert VqtokError("a: b").hint is None
