"""The table of families says what there is, and every line of it is tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.families import PAGE, with_table
from vqtok.checkpoints import foreign

HERE = Path(__file__).parent
ROOM = Path(foreign.__file__).parent


def test_the_table_in_the_docs_is_that_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_table(text), "python -m tests.families writes it anew"


def test_every_layout_is_asked():
    files = {path.stem for path in ROOM.glob("[!_]*.py")}
    assert files == set(foreign.LAYOUTS)


@pytest.mark.parametrize("name", [family.name for family in foreign.families()])
def test_every_family_is_recognised_by_some_test(name: str):
    texts = [path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py")]
    assert any(f'"{name}"' in text for text in texts)
