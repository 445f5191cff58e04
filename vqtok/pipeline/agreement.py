"""Exported graphs are run beside the model that they were made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vqtok.errors import CheckpointError
from vqtok.graphs import sessions
from vqtok.pipeline.traced import Made, sizes
from vqtok.protocols import Tokenizer

WITHIN = 1e-4
"""Of the loudest sample or brightest pixel: how far outputs may be apart."""

TIES = 0.01
"""Share of codes that may hang on rounding, and one of each signal; more is another search."""

COUNTS = ((9, 8), (5, 15))
"""Sizes that are compared, in multiples of what the graphs take."""

BATCH = 2


class Agreement(NamedTuple):
    """How far graphs and model are apart, on random signals of two sizes."""

    codes: int
    differing: int
    error: float
    """The largest of the outputs, relative to the loudest sample or brightest pixel."""

    def line(self) -> str:
        """Give them in one line."""
        return (
            f"compared with torch: {self.differing} of {self.codes} codes differ, outputs by "
            f"{self.error:.1e} of their peak at most"
        )

    def to_json(self) -> dict[str, Any]:
        """Give the figures by name."""
        return self._asdict()


def compare(made: Made, tokenizer: Tokenizer) -> Agreement:
    """Run graphs and model on the same signals.

    Raises:
        CheckpointError: they do not agree, or the graphs do not run.
    """
    encoder, decoder = (sessions.session(data) for data in (made.encoder, made.decoder))
    levels = [level.name for level in tokenizer.spec.levels]
    name, random = made.signal["name"], np.random.default_rng(0)
    label = 0 if made.labels else None
    total = differing = 0
    error = 0.0
    for size in sizes(made.signal, COUNTS):
        x = random.uniform(-1, 1, (BATCH, made.signal["axes"][1], *size)).astype(np.float32)
        codes = tokenizer.encode(x)
        found = dict(zip(levels, _run(encoder, levels, {name: x}), strict=True))
        given: dict[str, np.ndarray] = {}
        for level, array in zip(levels, codes.levels, strict=True):
            # A chunk is filled up with zeros in the model's codes.
            given[level] = np.asarray(array)[..., : found[level].shape[-1]]
            _same_shape(level, found[level], given[level])
            total += given[level].size
            differing += int((found[level] != given[level]).sum())
        more = _noise(made, given)
        more |= {} if label is None else {"label": np.array([label])}
        (y,) = _run(decoder, [name], given | more)
        expected = tokenizer.decode(codes, label=label).numpy()
        _same_shape(name, y, expected)
        peak = max(float(np.abs(expected).max()), float(np.finfo(np.float32).tiny))
        apart = float(np.abs(y - expected).max())
        error = max(error, apart / peak if np.isfinite(apart) else np.inf)
    if differing > TIES * total + BATCH * len(COUNTS):
        raise CheckpointError(f"not exported: {differing} of {total} codes differ from torch's")
    if error > WITHIN:
        raise CheckpointError(
            f"not exported: {name} differ from torch's by {error:.1e} of the peak"
        )
    return Agreement(total, differing, error)


def _noise(made: Made, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Draw the noise that the model draws for such codes."""
    if made.noise is None:
        return {}
    import torch

    drawn = made.noise(tuple(torch.tensor(each) for each in given.values()))
    return {f"noise{i}": each.numpy() for i, each in enumerate(drawn)}


def _run(session: Any, names: list[str], given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    try:
        found: list[np.ndarray] = session.run(names, dict(given))
    except Exception as error:  # onnxruntime has errors of its own, with no common base
        text = str(error).partition("\n")[0]
        raise CheckpointError(f"not exported: the graph does not run: {text}") from error
    return found


def _same_shape(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    if found.shape != expected.shape:
        reason = f"shape {found.shape} of {name} found, {expected.shape} expected"
        raise CheckpointError(f"not exported: {reason}")
