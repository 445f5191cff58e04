"""What a file of this room must define, and what it says of a checkpoint. No torch.

Each published layout is a file with ``FAMILIES``, what it reads, and
``recognise(found: Found) -> Match | None``, which looks at names, shapes and ``config.json`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from vqtok.protocols import SpecConfig


@dataclass(frozen=True)
class Family:
    """One line of the table of families.

    Attributes:
        name: As people call it.
        reads: Which files.
        tested: Against what the tests compare codes and pixels or samples.
        exported: What the graphs of ``vqtok export`` take.
    """

    name: str
    reads: str
    tested: str
    exported: str = "any size"


@dataclass(frozen=True)
class Match:
    """A checkpoint that was recognised.

    Attributes:
        family: Its name, as in ``Family``.
        config: Of our tokenizer with the same arithmetic.
        weights: Gives every tensor of that tokenizer under our name, and no other.
        left_out: What of the file is not needed, with the reason: "loss.*: 48 tensors of training".
        notes: What else there is to know, such as codes of which the file says nothing.
    """

    family: str
    config: SpecConfig
    weights: Callable[[], Mapping[str, Tensor]]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def left_out(names: Mapping[str, object], *prefixes: str) -> tuple[str, ...]:
    """Returns what ``Match.left_out`` says of tensors that begin so."""
    counts = {each: sum(name.startswith(each) for name in names) for each in prefixes}
    return tuple(
        f"{prefix}*: {count} tensors that only training needs"
        for prefix, count in counts.items()
        if count
    )
