"""Find the number of a label among a model's; no torch."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from vqtok.errors import UsageError
from vqtok.protocols import Label

SHOWN = 12
"""Names that a hint lists."""


def number_of(names: Sequence[str], label: Label) -> int:
    """Give the number of a label; 0 if the model has none and none is given.

    Args:
        names: Of the model, in the order of their numbers.
        label: A name, its number, or None.

    Raises:
        UsageError: none where one is needed, one where there are none, or an unknown one.
    """
    if not names:
        if label is not None:
            raise UsageError(f"label {label!r}: this model was made without labels")
        return 0
    if label is None:
        raise UsageError("no label given: this model needs one", hint=_known(names))
    if isinstance(label, str):
        if label in names:
            return list(names).index(label)
        close = difflib.get_close_matches(label, names, n=1)
        hint = f"did you mean {close[0]}?" if close else _known(names)
        raise UsageError(f"label {label!r}: the model does not know it", hint=hint)
    if not 0 <= label < len(names):
        raise UsageError(f"label {label}: the model has 0 … {len(names) - 1}")
    return label


def _known(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return f"one of {', '.join(names[:SHOWN])}" + (f" and {more} more" if more > 0 else "")
