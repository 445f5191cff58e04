"""Tiles and copies of one picture do not fall on both sides of the split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import MediaError
from vqtok.training.data.files import FileList
from vqtok.training.data.groups import groups_of, key_of, note_of
from vqtok.training.data.media import split


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x_001.png", "x_002.png"),
        ("x.png", "x_tile3.png"),
        ("x_tile_0_1.png", "x_tile_1_0.png"),
        ("d/x-3x4.png", "d/x-0x0.png"),
        ("x.jpg", "x.png"),
        ("x.jpg", "x (1).jpg"),
        ("x.jpg", "x copy.jpg"),
        ("x.jpg", "X_flip.JPG"),
        ("x_r0_c1.png", "x_r2_c0.png"),
        ("take1.wav", "take1_seg-02.wav"),
        ("x_crop1_rot90.png", "x_crop2.png"),
    ],
)
def test_names_of_one_picture_share_a_key(one: str, other: str) -> None:
    assert key_of(one)[0] == key_of(other)[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a/x_001.png", "b/x_001.png"),
        ("1.png", "2.png"),
        ("IMG1.png", "IMG2.png"),
        ("red.png", "redder.png"),
        ("_1.png", "_2.png"),
        ("particle.png", "part.png"),
    ],
)
def test_names_of_others_do_not(one: str, other: str) -> None:
    assert key_of(one)[0] != key_of(other)[0]


def tiles(pictures: int, each: int) -> list[Path]:
    return [Path(f"p{n}_{tile:03}.png") for n in range(pictures) for tile in range(each)]


def test_a_number_alone_makes_no_group_of_a_whole_class() -> None:
    for names in (tiles(1, 40), tiles(3, 100), tiles(1, 5000)):
        assert len(np.unique(groups_of(names))) == len(names)
        assert note_of(groups_of(names)) == ""
    groups = groups_of(tiles(10, 9))
    assert len(np.unique(groups)) == 10
    assert note_of(groups).startswith("90 files whose names say that they show 10 pictures")


def sides(names: list[Path], held: list[Path], training: list[Path]) -> tuple[set[str], set[str]]:
    assert sorted([*held, *training]) == sorted(names)
    return {key_of(str(each))[0] for each in held}, {key_of(str(each))[0] for each in training}


@given(
    pictures=st.integers(4, 20),
    each=st.integers(1, 9),
    share=st.floats(0, 0.6),
    seed=st.integers(0, 5),
)
def test_no_picture_is_on_both_sides(pictures: int, each: int, share: float, seed: int) -> None:
    names = tiles(pictures, each)
    groups = groups_of(names)
    made = split(FileList.of(names), share=share, seed=seed, groups=groups)
    again = split(FileList.of(names), share=share, seed=seed, groups=groups)
    assert list(made.held_out) == list(again.held_out)
    held, training = sides(names, list(made.held_out), list(made.training))
    assert held and training and not held & training
    assert len(made.held_out) < max(1, round(share * len(names))) + each


@given(
    broken=st.sets(st.integers(0, 39), max_size=12),
    seed=st.integers(0, 5),
    enough=st.integers(1, 9),
)
def test_nor_when_some_cannot_be_read(broken: set[int], seed: int, enough: int) -> None:
    names = tiles(10, 4)

    def check(place: object) -> None:
        if names.index(Path(str(place))) in broken:
            raise MediaError(place, "broken")

    made = split(
        FileList.of(names), share=0.2, seed=seed, check=check, enough=enough,
        groups=groups_of(names),
    )  # fmt: skip
    gone = [Path(each) for each in made.unreadable]
    held, training = sides(names, [*made.held_out, *gone], list(made.training))
    held -= {key_of(str(each))[0] for each in gone if each not in made.held_out}
    assert not {key_of(str(each))[0] for each in made.held_out} & training


@given(count=st.integers(1, 40), share=st.floats(0, 0.9), seed=st.integers(0, 3))
def test_without_such_names_the_split_is_that_of_earlier_versions(
    count: int, share: float, seed: int
) -> None:
    names = [Path(f"{number:03}.png") for number in range(count)]
    before = split(FileList.of(names), share=share, seed=seed)
    now = split(FileList.of(names), share=share, seed=seed, groups=groups_of(names))
    assert (list(before.training), list(before.held_out)) == (
        list(now.training),
        list(now.held_out),
    )
