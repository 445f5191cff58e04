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
    from vqtok.pipeline.report.page import Report
    from vqtok.pipeline.results import Failed

EXAMPLES = 8
"""Default of --examples, for each kind of files."""

SUFFIXES = (".html", ".htm")


class Page:
    """Collects what is shown on a page while files go by; without a path nothing is kept.

    Args:
        path: Where the page is written; None: none is wanted.
        examples: Files of each kind to show.
    """

    def __init__(self, path: Path | None, examples: int) -> None:
        self._path, self._examples = path, examples
        self._report: Report | None = None
        self.pair: OnPair | None = None
        """Takes an original and its reconstruction, if there is a page."""

    @classmethod
    def of(cls, report: str | None, examples: int | None, *, force: bool) -> Page:
        """Check the flags.

        Raises:
            UsageError: a name that is no page's, or of something that is there already; a folder
                that cannot be written.
        """
        if report is None:
            if examples is not None:
                raise UsageError("--examples", "needs a page", hint="--report FILE.html")
            return cls(None, 0)
        path = Path(report)
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"--report {report}", "a page ends in .html", hint="--report FILE.html"
            )
        if path.is_dir():
            raise UsageError(path, "is a directory")
        if path.exists() and not force:
            raise UsageError(path, "already exists", hint="-f overwrites")
        refuse_unwritable({str(path.parent)})
        return cls(path, EXAMPLES if examples is None else examples)

    def begin(self, jobs: Sequence[Job]) -> None:
        """Choose the examples among the files to come."""
        from vqtok.pipeline.report.page import Report

        if self._path is not None:
            self._report = Report(jobs, examples=self._examples)
            self.pair = self._report.pair

    def take(self, result: Compared | Failed) -> None:
        """Take one file's results."""
        if self._report is not None:
            self._report.finish(result)

    def write(self, console: Console, comparison: Comparison) -> None:
        """Write the page and say so, if there is anything to show.

        Raises:
            MediaError: it cannot be written.
        """
        summaries = comparison.summaries()
        if self._report is None or self._path is None or not summaries:
            return
        likes = {kind: comparison.like(kind) or "" for kind in ("image", "audio")}
        self._report.write(self._path, summaries, likes=likes)
        console.say(f"wrote {self._path}")
