"""``vqtok eval --report``: the page, if one is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.errors import UsageError
from vqtok.media.plan import refuse_unwritable

if TYPE_CHECKING:
    from vqtok.cli.console import Console
    from vqtok.media.plan import Job
    from vqtok.pipeline.compare import Compared, Comparison, OnPair
    from vqtok.pipeline.results import Failed

EXAMPLES = 8
"""Files of each kind, unless told otherwise."""

SUFFIXES = (".html", ".htm")


def place(report: str | None, examples: int | None, *, force: bool) -> Path | None:
    """Where the page is to be.

    Raises:
        UsageError: a name that is no page's, or of something that is there already; a folder that
            cannot be written.
    """
    if report is None:
        if examples is not None:
            raise UsageError("--examples", "of which page?", hint="--report FILE.html")
        return None
    page = Path(report)
    if page.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--report {report}", "a page ends in .html", hint="--report FILE.html")
    if page.is_dir():
        raise UsageError(page, "is a directory")
    if page.exists() and not force:
        raise UsageError(page, "already exists", hint="-f overwrites")
    refuse_unwritable({str(page.parent)})
    return page


class Shown:
    """What the page is made of, while the files go by; without a page nothing is kept.

    Args:
        page: Where it is to be; None: none is wanted.
        jobs: All files to come.
        examples: Files of each kind to show; None: ``EXAMPLES``.
    """

    def __init__(self, page: Path | None, jobs: Sequence[Job], *, examples: int | None) -> None:
        from vqtok.pipeline.report.page import Report

        self._page = page
        count = EXAMPLES if examples is None else examples
        self._report = None if page is None else Report(jobs, examples=count)
        self.pair: OnPair | None = None if self._report is None else self._report.pair

    def settle(self, result: Compared | Failed) -> None:
        """Take one file's results."""
        if self._report is not None:
            self._report.settle(result)

    def write(self, console: Console, comparison: Comparison) -> None:
        """Write the page and say so, if there is anything to show.

        Raises:
            MediaError: it cannot be written.
        """
        summaries = comparison.summaries()
        if self._report is None or self._page is None or not summaries:
            return
        likes = {kind: comparison.like(kind) or "" for kind in ("image", "audio")}
        self._report.write(self._page, summaries, likes=likes)
        console.say(f"wrote {self._page}")
