"""Where the items of a corpus are written: below the directory that was named, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import UsageError
from vqtok.pipeline.corpus_decode import plan


@dataclass
class Reader:
    """A corpus of names alone, as hostile as can be."""

    names: list[str]
    modality: str = "image"

    @property
    def spec(self) -> Any:
        return SimpleNamespace(modality=self.modality)

    def __iter__(self) -> Iterator[Any]:
        return (SimpleNamespace(number=n, name=name) for n, name in enumerate(self.names))


def targets(names: list[str], out: Path, **options: Any) -> tuple[list[str], list[str]]:
    made = plan(Reader(names), Path("corpus"), out, **options)  # type: ignore[arg-type]
    return (
        [str(job.target.relative_to(out)) for job in made.jobs if job.target],
        [str(error) for _, error in made.failures],
    )


def test_names_keep_their_folders(tmp_path: Path) -> None:
    assert targets(["a.jpg", "b/c.png", "b/d"], tmp_path) == (
        ["a.recon.png", "b/c.recon.png", "b/d.recon.png"],
        [],
    )


def test_items_that_differ_in_their_suffix_alone_keep_it(tmp_path: Path) -> None:
    found, _ = targets(["a.jpg", "a.png", "b/a.png"], tmp_path, format="webp")
    assert found == ["a.jpg.recon.webp", "a.png.recon.webp", "b/a.recon.webp"]


@pytest.mark.parametrize(
    "name", ["/etc/x.png", "../x.png", "a/../../x.png", "a\\..\\x.png", "x\0.png"]
)
def test_names_that_lead_outside_fail_alone(tmp_path: Path, name: str) -> None:
    found, errors = targets([name, "good.png"], tmp_path)
    assert found == ["good.recon.png"]
    assert len(errors) == 1 and "leads outside" in errors[0]


def test_names_that_a_terminal_would_obey_fail_alone(tmp_path: Path) -> None:
    found, errors = targets(["a\x1b[2J.png", "b\n.png", "good.png"], tmp_path)
    assert found == ["good.recon.png"]
    assert all("cannot be printed" in error and error.isprintable() for error in errors)


@pytest.mark.parametrize("name", ["x" * 5000 + ".png", "a/" * 2500 + "a.png", "a/" * 1000 + "a"])
def test_names_that_no_file_can_have_fail_alone(tmp_path: Path, name: str) -> None:
    found, errors = targets([name, "good.png"], tmp_path)
    assert found == ["good.recon.png"]
    assert len(errors) == 1 and "no file can have" in errors[0]


def test_a_second_item_of_a_name_fails(tmp_path: Path) -> None:
    found, errors = targets(["a.png", "a.png"], tmp_path)
    assert len(found) == 1 and "another item of this name" in errors[0]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    found, errors = targets(["sub/a.png", "b.png"], tmp_path / "out")
    assert found == ["b.recon.png"]
    assert "a link leads outside" in errors[0]


def test_video_is_not_decoded_yet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="codes of video"):
        plan(Reader([], "video"), Path("c"), tmp_path)  # type: ignore[arg-type]


@given(names=st.lists(st.text(max_size=12) | st.sampled_from(["..", "/", "a/../b", ".", ""])))
def test_whatever_the_names_each_target_is_below_the_directory_and_its_own(names, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    made = plan(Reader(names), Path("corpus"), out)  # type: ignore[arg-type]
    places = [job.target.resolve() for job in made.jobs if job.target]
    assert all(place.is_relative_to(out.resolve()) and place != out.resolve() for place in places)
    assert len(set(places)) == len(places)
    assert len(made.jobs) + len(made.failures) == len(names)
