"""Labels: the classes and speakers that models are conditioned on, and those of files."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from vqtok.errors import UsageError
from vqtok.protocols import Coder

SHOWN = 12


def check_label(coder: Coder, label: str | None) -> None:
    """Check that a label fits the model.

    Raises:
        UsageError: one that the model does not know, none where it needs one, or one where it has
            none.
    """
    names, model = coder.labels, coder.name or "model"
    if not names:
        if label is not None:
            reason = f"{coder.name or 'this model'} was made without labels"
            raise UsageError(f"--label {label}", reason)
        return
    if label in names:
        return
    more = len(names) - SHOWN
    known = f"one of {', '.join(names[:SHOWN])}" + (f" and {more} more" if more > 0 else "")
    if label is None:
        reason = "no label given: this model needs one"
        raise UsageError(model, reason, hint=f"--label NAME, {known}")
    close = difflib.get_close_matches(label, names, n=1)
    hint = f"did you mean {close[0]}?" if close else known
    raise UsageError(model, f"label {label!r}: the model does not know it", hint=hint)


def label_for(coder: Coder, source: Path | None, label: str | None) -> str | None:
    """Return the label of a file: the one given, else the end of its directory's path.

    Raises:
        UsageError: as ``check_label``; no end of the directory's path is one of the labels.
    """
    if label is None and coder.labels and source is not None:
        what = f"label of {coder.name or 'the model'}"
        return directory_label(source, coder.labels, what=what)
    check_label(coder, label)
    return label


def directory_label(source: Path, names: Sequence[str], *, what: str) -> str:
    """Return the longest end of a file's directory that is a label.

    Args:
        source: The file.
        names: Of the labels.
        what: Of what they are, in messages: "class of the classifier".

    Raises:
        UsageError: none is.
    """
    parts = source.absolute().parent.parts
    found = longest_end(parts, names)
    if not found:
        raise UsageError(
            source,
            f"its directory {parts[-1]!r} is no {what}",
            hint="--label NAME; vqtok info MODEL lists them",
        )
    return found


def longest_end(parts: Sequence[str], names: Sequence[str]) -> str:
    """Return the longest end of a path that is one of these names; "" if none is."""
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in names), "")
