"""Which label a file is told with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vqtok.errors import UsageError
from vqtok.pipeline.labels import check_label, label_for


def model(*names: str) -> Any:
    return SimpleNamespace(name="m", labels=names)


@pytest.mark.parametrize(
    ("source", "expected"), [("x/b/1.png", "b"), ("x/a/b/1.png", "a/b"), ("a/b/c/1.png", "c")]
)
def test_the_longest_end_of_the_directory_that_is_a_label_counts(
    source: str, expected: str
) -> None:
    assert label_for(model("a/b", "b", "c"), Path(source), None) == expected


def test_a_directory_that_is_no_label_is_an_error_that_names_it() -> None:
    with pytest.raises(UsageError, match="'b' is no label of m"):
        label_for(model("a"), Path("a/b/1.png"), None)


def test_the_label_that_was_given_wins() -> None:
    assert label_for(model("a", "b"), Path("a/1.png"), "b") == "b"


def test_models_of_others_have_no_labels() -> None:
    other = SimpleNamespace(name="", labels=())
    assert label_for(other, Path("a/1.png"), None) is None
    check_label(other, None)
    with pytest.raises(UsageError, match="without labels"):
        check_label(other, "a")
