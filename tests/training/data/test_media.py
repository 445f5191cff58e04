"""Held-out files are never trained on, and can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import MediaError
from vqtok.media.items import Place
from vqtok.training.data.files import FileList
from vqtok.training.data.media import checker, split

COUNTS = st.integers(1, 60)
SHARES = st.floats(0.0, 0.9)


def names(count: int) -> FileList:
    return FileList.of([Path(f"{i:03}.png") for i in range(count)])


@given(count=COUNTS, share=SHARES, seed=st.integers(0, 3))
def test_splits_are_disjoint_whole_and_repeatable(count: int, share: float, seed: int) -> None:
    files = names(count)
    train, held, unreadable = split(files, share=share, seed=seed)
    assert train and held and not unreadable
    again = split(files, share=share, seed=seed)
    assert (list(again.training), list(again.held_out)) == (list(train), list(held))
    if count > 1:
        assert not set(train) & set(held)
        assert sorted([*train, *held]) == list(files)


@given(count=COUNTS, share=SHARES, broken=st.sets(st.integers(0, 59)), enough=st.integers(1, 20))
def test_the_first_held_out_files_can_be_read(
    count: int, share: float, broken: set[int], enough: int
) -> None:
    files = names(count)

    def check(place: Place) -> None:
        if int(Path(place.name).stem) in broken:
            raise MediaError(place, "broken")

    if broken >= set(range(count)):
        with pytest.raises(MediaError, match="none of the"):
            split(files, share=share, seed=0, check=check, enough=enough)
        return
    plain = split(files, share=share, seed=0)
    train, held, unreadable = split(files, share=share, seed=0, check=check, enough=enough)
    sound = count - len(broken & set(range(count)))
    checked = list(held)[: min(enough, len(plain.held_out), sound)]
    assert checked
    assert not {int(each.stem) for each in checked} & broken
    assert {int(Path(name).stem) for name in unreadable} <= broken
    if sound > len(held):
        assert not set(train) & set(held)
        assert len(train) + len(held) + len(unreadable) == count


def test_broken_files_of_either_kind_are_seen(photos: Path, clips: Path) -> None:
    image, sound = (checker(kind, rate=800) for kind in ("image", "audio"))
    image(photos / "0.png")
    sound(clips / "0.wav")
    data = (photos / "1.png").read_bytes()
    (photos / "1.png").write_bytes(data[: len(data) // 2])
    (clips / "1.wav").write_bytes(b"")
    for check, path in ((image, photos / "1.png"), (sound, clips / "1.wav")):
        with pytest.raises(MediaError):
            check(path)
