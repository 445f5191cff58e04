"""The table of families in docs/checkpoints.md: ``python -m tests.families`` writes it anew."""

from __future__ import annotations

from pathlib import Path

from vqtok.checkpoints import foreign

PAGE = Path(__file__).parent.parent / "docs" / "checkpoints.md"
BEGIN = "<!-- families: written by python -m tests.families -->\n"
END = "<!-- end of families -->\n"


def table() -> str:
    rows = [
        f"| {each.name} | {each.reads} | {each.tested} | {each.exported} |\n"
        for each in foreign.families()
    ]
    head = "| family | what is read | tested against | graphs of `vqtok export` take |\n"
    return head + "| --- | --- | --- | --- |\n" + "".join(rows)


def with_table(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
