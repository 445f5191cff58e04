"""What a run reports while it goes on: events for whoever watches, lines for ``log.jsonl``."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vqtok import atomic
from vqtok.config import to_line
from vqtok.errors import one_line

Learns = Literal["tokenizer", "prior", "classifier"]


@dataclass(frozen=True)
class Started:
    """Says that the run is set up, and training begins.

    Attributes:
        learns: What is trained: a tokenizer or classifier on files, or a prior on items of codes.
        files: Training files.
        held_out: Files that are measured on and never trained on.
        warmup: Steps in which the learning rate still rises.
        continuous: Whether the model has no codes.
        notes: What was left out of the data, and what of the recipe was adapted to it; a sentence
            each, for people.
        unreached: Entries of folders, lists and tars that could not be looked at.
        left_out: Paths of files of no wanted kind, the first thousand; for ``-v``, not for JSON.
    """

    modality: str
    files: int
    held_out: int
    parameters: int
    device: str
    precision: str
    first_step: int
    steps: int
    notes: tuple[str, ...] = ()
    learns: Learns = "tokenizer"
    unreached: int = 0
    continuous: bool = False
    warmup: int = 0
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """Describes the state after a step.

    Attributes:
        step: Steps done.
        losses: Term → weighted value at this step, the quantizer's terms among them, and
            "discriminator", its own loss. ``total`` adds up the model's.
        use: Share of the codebook used in the recent steps, 0 … 1; None for a continuous method.
        perplexity: exp(entropy) of the recent codes, per codebook; None for a continuous method.
            Means over the levels, if there are several.
        items_per_s: Speed over the recent steps.
        left_s: Estimated seconds to the end.
        skipped: Steps skipped because the loss or a gradient was not finite.
        elapsed_s: Seconds of training so far, resumed parts included; 0: not known.
        latents: Of a continuous method instead: "kl", nats per position, and
            "active_units", latent dimensions that carry anything.
        levels: Of a model with several levels, "share" and "perplexity" of each by name.
    """

    step: int
    losses: dict[str, float]
    use: float | None
    perplexity: float | None
    learning_rate: float
    items_per_s: float
    left_s: float
    skipped: int
    elapsed_s: float = 0.0
    latents: dict[str, float] = field(default_factory=dict)
    levels: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Sum up what the model minimises."""
        return total(self.losses)


def total(losses: Mapping[str, float | None]) -> float:
    """Sum up ``Progress.losses`` that the model minimises; missing values count as 0."""
    own = (value for name, value in losses.items() if name != "discriminator")
    return math.fsum(value for value in own if value is not None)


@dataclass(frozen=True)
class Warned:
    """Warns that something about the run is not well.

    Attributes:
        text: What is wrong and what was done about it: "codebook use fell from 92% to 31%: 700
            entries revived".
    """

    step: int
    text: str


@dataclass(frozen=True)
class Measuring:
    """Says that held-out files are being measured: no steps are taken meanwhile."""

    step: int


@dataclass(frozen=True)
class Evaluated:
    """Says that the model was measured on the held-out split, then saved.

    Attributes:
        metrics: "psnr_db" for images, "mel_distance" for audio, and the codebook's "use" and
            "perplexity".
        pictures: Previews, relative to the model directory.
        best: Whether the model has never been better; the directory then holds this one.
    """

    step: int
    elapsed_s: float
    metrics: dict[str, float]
    pictures: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Finished:
    """Ends the events: the directory holds a whole model.

    Attributes:
        reason: "steps", "minutes" or "stopped".
        unreadable: Files that could not be read: name → why, as in ``unreadable.txt``.
    """

    output: Path
    step: int
    elapsed_s: float
    reason: str
    metrics: dict[str, float] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


Event = Started | Progress | Warned | Measuring | Evaluated | Finished

RECENT = 100
"""Steps over which speed is shown."""


class Pace:
    """Measures the speed of the recent steps."""

    def __init__(self) -> None:
        self._moments: list[float] = []

    def tick(self) -> None:
        """Note that a step has ended."""
        self._moments = [*self._moments[-RECENT:], time.monotonic()]

    @property
    def steps_per_s(self) -> float:
        """Mean over the recent steps; 0 before there are two."""
        span = self._moments[-1] - self._moments[0] if self._moments else 0.0
        return (len(self._moments) - 1) / span if span > 0 else 0.0


UNREADABLE = "unreadable.txt"
"""In the model directory: the files that could not be read, a line each."""

# File names may be any bytes. What is left of them in a string is then a JSON escape: \udce9.
_UNDECODED = "backslashreplace"


class Journal:
    """Appends to ``log.jsonl``; a resumed run first drops the lines after its first step.

    Args:
        path: Of the file.
        first_step: Of the run, or of its resumed part.
        silent: Write nothing: another process writes this run's log.
    """

    def __init__(self, path: Path, *, first_step: int, silent: bool = False) -> None:
        self.path, self.silent = path, silent
        self.evaluations: list[dict[str, Any]] = []
        if silent:
            return
        kept = [line for line in records(path) if line["step"] <= first_step]
        self.evaluations = [line for line in kept if line["event"] == "evaluated"]
        text = "".join(_line(each) for each in kept if first_step)
        path.write_text(text, encoding="utf-8", errors=_UNDECODED)
        if not first_step:
            self.evaluations = []

    def write(self, event: Progress | Warned | Evaluated) -> None:
        """Add one event as one line, on disk at once."""
        if self.silent:
            return
        record = {"event": type(event).__name__.lower(), **asdict(event)}
        if isinstance(event, Evaluated):
            self.evaluations.append(record)
        # Opened anew each time: saving a model may put another directory in this one's place.
        with self.path.open("a", encoding="utf-8", errors=_UNDECODED) as stream:
            stream.write(_line(record))


def list_unreadable(output: Path, reasons: Mapping[str, str]) -> None:
    """Write ``unreadable.txt`` beside the model, sorted; no such file if all could be read."""
    lines = sorted(one_line(f"{name}: {why}") + "\n" for name, why in reasons.items())
    if not lines:
        (output / UNREADABLE).unlink(missing_ok=True)
        return
    with atomic.file(output / UNREADABLE) as temporary:
        # File names may be any bytes; so is the list.
        temporary.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")


def records(path: Path) -> list[dict[str, Any]]:
    """Read the sound lines of a ``log.jsonl``, in order; none if there is no such file."""
    if not path.exists():
        return []
    out = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):  # the line that a kill cut off
            break
        if not _is_event(line):
            break
        out.append(line)
    return out


def _line(record: dict[str, Any]) -> str:
    return to_line(record) + "\n"


def _is_event(line: object) -> bool:
    """Checks whether this is a record of ``Journal.write``, as far as it is read again."""
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return False
    if not isinstance(line.get("event"), str):
        return False
    return line["event"] != "evaluated" or isinstance(line.get("metrics"), dict)
