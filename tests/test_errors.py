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


def test_control_characters_of_a_file_do_not_reach_the_terminal():
    error = VqtokError("a.npy: level '\x1b[2Jtop\n\u2028' found")
    assert str(error) == "a.npy: level '\ufffd[2Jtop\ufffd\ufffd' found"
    assert str(VqtokError("caf\udce9.png: empty file")) == "caf\udce9.png: empty file"


def test_a_file_that_quotes_itself_at_length_is_cut_in_the_middle():
    text = str(VqtokError(f"a.npy: level {'x' * 10**6} found"))
    assert text.startswith("a.npy: level xx") and text.endswith("xx found")
    assert len(text) <= errors.LONGEST + 3
