"""Classes and speakers that some models are told when they decode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqtok.errors import UsageError


def labels_of(tokenizer: Any) -> tuple[str, ...]:
    """Names of a model's labels; none for a model that takes none, ours or another's."""
    labels = getattr(tokenizer, "labels", None)
    return tuple(getattr(labels, "names", ()))


def told(label: str | None) -> dict[str, str]:
    """A label as an argument of ``decode`` and its kind; not every model has one to be given."""
    return {} if label is None else {"label": label}


def check_label(tokenizer: Any, label: str | None) -> None:
    """Check that a label fits the model.

    Raises:
        UsageError: one that the model does not know, none where it needs one, or one where it has
            none.
    """
    names = labels_of(tokenizer)
    if names:
        try:
            tokenizer.labels.number(label)
        except UsageError as error:
            hint = f"--label NAME, {error.hint}" if label is None else error.hint
            raise UsageError(f"{tokenizer.name or 'model'}: {error}", hint=hint) from error
    elif label is not None:
        name = getattr(tokenizer, "name", "") or "this model"
        raise UsageError(f"--label {label}: {name} was made without labels")


def label_for(tokenizer: Any, source: Path | None, label: str | None) -> str | None:
    """The label of a file: the one given, else the end of its directory's path.

    Raises:
        UsageError: as ``check_label``; no end of the directory's path is one of the labels.
    """
    names = labels_of(tokenizer)
    if label is None and names and source is not None:
        parts = source.absolute().parent.parts
        for start in range(len(parts)):  # the longest first: "a/b" before "b"
            if "/".join(parts[start:]) in names:
                return "/".join(parts[start:])
        model = getattr(tokenizer, "name", "") or "the model"
        raise UsageError(
            f"{source}: its directory {parts[-1]!r} is no label of {model}",
            hint="--label NAME; vqtok info MODEL lists them",
        )
    check_label(tokenizer, label)
    return label
