"""Every metric that a module of this room declares, and the choice among them."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module

from vqtok import metrics as room
from vqtok.errors import UsageError
from vqtok.metrics.metric import Metric


def _declared() -> Iterator[Metric]:
    for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
        if module.name != __name__:
            found = vars(import_module(module.name)).values()
            yield from (each for each in found if isinstance(each, Metric))


ALL = {metric.key: metric for metric in _declared()}
"""Metrics by key."""

MEASURES = tuple(
    sorted(
        (each for each in ALL.values() if each.measure), key=lambda each: each.modality != "image"
    )
)
"""Metrics of an original and its reconstruction, in the order of a table's columns."""


def find(key: str) -> Metric | None:
    """Find a metric by its key in JSON and logs; "use_top" is the use of the level "top"."""
    if key in ALL:
        return ALL[key]
    kind, _, level = key.partition("_")
    if kind not in ALL or not level:
        return None
    found = ALL[kind]
    return replace(found, key=key, title=f"{found.title}, {level}")


def select(names: Iterable[str]) -> tuple[Metric, ...]:
    """Find metrics by name, in the order of ``MEASURES``.

    Raises:
        UsageError: an unknown name.
    """
    wanted = list(names)
    known = [metric.name for metric in MEASURES]
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "metrics: " + ", ".join(known)
            raise UsageError(f"--metrics {name}", "unknown metric", hint=hint)
    return tuple(metric for metric in MEASURES if metric.name in wanted)


def choose(
    names: Sequence[str] | None, modalities: Collection[str]
) -> tuple[tuple[Metric, ...], list[str]]:
    """Choose what to compute.

    Args:
        names: As typed; None: all whose packages are installed.
        modalities: Of the files.

    Returns:
        Metrics in order, and what to tell the user about those that are left out.

    Raises:
        UsageError: an unknown name, a named metric whose package is missing, or names that are all
            for another modality.
    """
    if names is not None:
        chosen = select(names)
        if modalities and not any(metric.modality in modalities for metric in chosen):
            known = [metric.name for metric in MEASURES if metric.modality in modalities]
            raise UsageError(
                f"--metrics {','.join(names)}",
                f"not for {' and '.join(sorted(modalities))} files",
                hint=", ".join(known),
            )
        for metric in chosen:
            metric.require()
        return chosen, []
    chosen = tuple(metric for metric in MEASURES if metric.is_installed)
    missing = [
        metric.title
        for metric in MEASURES
        if metric not in chosen and metric.modality in modalities
    ]
    if not missing:
        return chosen, []
    return chosen, [f"{' and '.join(missing)} left out; to add: pip install 'vqtok[metrics]'"]
