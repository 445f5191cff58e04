"""Errors: exit codes and hints."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

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
def test_all_fields_survive_copies_and_processes(child: type[VqtokError]):
    error = child("cannot read image", hint="supported: png").about("cat.bmp")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is child
        assert (again.subject, again.reason) == ("cat.bmp", "cannot read image")
        assert (str(again), again.hint) == ("cat.bmp: cannot read image", "supported: png")


def test_the_message_is_the_subject_and_what_is_wrong_with_it():
    error = VqtokError(Path("a.npy"), "truncated: 3 bytes found")
    assert (error.subject, error.reason) == ("a.npy", "truncated: 3 bytes found")
    assert (str(error), error.hint) == ("a.npy: truncated: 3 bytes found", None)


def test_a_reason_alone_is_not_searched_for_a_subject():
    error = VqtokError("truncated: 3 bytes found")
    assert (error.subject, error.reason, str(error)) == ("", str(error), "truncated: 3 bytes found")


def test_only_an_error_without_a_subject_takes_one():
    assert str(VqtokError("truncated").about("a.npy").about("b.tar")) == "a.npy: truncated"


def test_control_characters_of_a_file_do_not_reach_the_terminal():
    error = VqtokError("a\x1b.npy", "level '\x1b[2Jtop\n\u2028' found")
    assert str(error) == "a\ufffd.npy: level '\ufffd[2Jtop\ufffd\ufffd' found"
    assert str(VqtokError("empty file").about("caf\udce9.png")) == "caf\udce9.png: empty file"


def test_a_file_that_quotes_itself_at_length_is_cut_in_the_middle():
    text = str(VqtokError("a.npy", f"level {'x' * 10**6} found"))
    assert text.startswith("a.npy: level xx") and text.endswith("xx found")
    assert len(text) <= errors.LONGEST + 3
