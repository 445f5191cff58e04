"""Where samples go: one picture of all, a file each, or standard output. No torch."""

from __future__ import annotations

import difflib
import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqtok.codes.spec import CodeSpec
from vqtok.errors import UsageError
from vqtok.media.kinds import MODALITIES, READ_ONLY

STDOUT = "-"

FIELDS = ("index", "class")

SUFFIX = {"image": "png", "audio": "wav"}
"""What is written unless something else is asked for."""

CODES = ("npy", "safetensors")

MAX_PIXELS = 2**27
"""Of one sample: 2 million positions of codes of 8x8 pixels."""
MOST_SAMPLES = 2**31
"""Samples of one recording: 24 hours at 24 kHz."""


@dataclass(frozen=True)
class SamplePlan:
    """What is written.

    Attributes:
        targets: One for each sample; or one for all of them, a grid of pictures; None: stdout.
        format: "png", "wav", "npy" … of every target.
        kind: "image", "audio" or "codes".
    """

    targets: tuple[Path | None, ...]
    format: str
    kind: str

    @property
    def is_grid(self) -> bool:
        """Whether one picture shows all samples."""
        return self.kind == "image" and len(self.targets) == 1


def plan(
    output: str,
    *,
    modality: str,
    count: int,
    classes: Sequence[str],
    format: str | None = None,
    force: bool = False,
) -> SamplePlan:
    """Resolve what every sample is written to.

    Args:
        output: A file, a directory (ends in "/" or exists as one), a template with ``{index}`` or
            ``{class}``, or "-".
        modality: Of the prior's codes.
        count: How many samples.
        classes: Of each sample; none: the prior has none.
        format: Suffix of what is written; None: by ``output``, else png and wav.
        force: Overwrite existing files.

    Raises:
        UsageError: a format that cannot be written, several samples in a file that holds one, or
            targets that exist.
    """
    is_directory = output.endswith("/") or (output != STDOUT and Path(output).is_dir())
    chosen = _format(output, format, modality, is_directory=is_directory)
    kind = "codes" if chosen in CODES else str(MODALITIES.get(f".{chosen}"))
    if kind not in ("codes", modality) or f".{chosen}" in READ_ONLY:
        what = {"image": "pictures", "audio": "recordings"}.get(modality, modality)
        raise UsageError(
            f"-o {output}",
            f"{what} cannot be written as {chosen!r}",
            hint=f"--format {SUFFIX.get(modality, 'safetensors')}, or npy or safetensors for codes",
        )
    if is_directory:
        folder = "{class}/" if classes else ""
        output = f"{output.rstrip('/')}/{folder}{{index:04d}}.{chosen}"
    if "{" in output:
        targets = tuple(Path(_filled(output, i, classes)) for i in range(count))
        if len(set(targets)) < count:
            raise UsageError(f"-o {output}", "several samples would be written there", hint=_EACH)
    elif count > 1 and kind != "image":
        raise UsageError(f"-o {output}", f"{count} samples, and the file holds one", hint=_EACH)
    else:
        targets = (Path(output),)
    _check_free(targets, output, force=force)
    return SamplePlan((None,) if output == STDOUT else targets, chosen, kind)


_EACH = "-o DIR/, or -o 'new-{index}.wav'"


def _format(output: str, format: str | None, modality: str, *, is_directory: bool) -> str:
    if format is not None:
        return format.lower().lstrip(".")
    if is_directory or output == STDOUT:
        return SUFFIX.get(modality, "safetensors")
    suffix = Path(output).suffix.lower().lstrip(".")
    if not suffix:
        raise UsageError(f"-o {output}", "no suffix that tells the format", hint=f"-o {output}/")
    return suffix


def _filled(template: str, index: int, classes: Sequence[str]) -> str:
    fields = {"index": index}
    known: dict[str, object] = {**fields, "class": _safe(classes[index])} if classes else {**fields}
    try:
        for _, name, _, _ in string.Formatter().parse(template):
            if name is not None and name not in known:
                raise KeyError(name)
        return template.format(**known)
    except (KeyError, IndexError, ValueError) as error:
        have = ", ".join(f"{{{name}}}" for name in known)
        raise UsageError(f"-o {template}", "not a template", hint=f"fields: {have}") from error


def _safe(name: str) -> str:
    """Makes a class as a relative path: names come from a model's config, and may be anything."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "none"


def _check_free(targets: Sequence[Path], output: str, *, force: bool) -> None:
    if output == STDOUT:
        return
    taken = [target for target in targets if target.exists()]
    if folders := [each for each in taken if each.is_dir()]:
        raise UsageError(folders[0], "is a directory")
    if taken and not force:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise UsageError(f"{taken[0]}{more}", "already there", hint="-f overwrites")


def spread(classes: Sequence[str], wanted: Sequence[str], count: int) -> tuple[str, ...]:
    """Returns the class of each sample: those that are wanted in turn, or all in turn.

    Args:
        classes: That the prior knows.
        wanted: Names; none: all.
        count: Samples.

    Raises:
        UsageError: a class that the prior does not know.
    """
    for name in wanted:
        if name not in classes:
            close = difflib.get_close_matches(name, classes, n=1)
            known = ", ".join(classes[:12]) + (" …" if len(classes) > 12 else "")
            hint = f"did you mean {close[0]}?" if close else f"known: {known}"
            reason = "the prior does not know it" if classes else "the prior has no classes"
            raise UsageError(f"--class {name}", reason, hint=hint if classes else None)
    chosen = list(wanted) or list(classes)
    return tuple(chosen[index % len(chosen)] for index in range(count)) if chosen else ()


def extent_of(
    spec: CodeSpec, usual: tuple[int, ...], *, size: str | None, seconds: float | None
) -> tuple[int, ...]:
    """Returns what the signals measure.

    Args:
        spec: Of the codes.
        usual: As the model was trained; (): not known.
        size: "WIDTHxHEIGHT" of pictures, or None.
        seconds: Of audio, or None.

    Raises:
        UsageError: one that does not fit the kind, or is no size; none, and there is no usual one.
    """
    if size is not None:
        match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size)
        if spec.modality != "image" or match is None:
            reason = "not WIDTHxHEIGHT" if spec.modality == "image" else "the prior is of audio"
            raise UsageError(f"--size {size}", reason)
        width, height = int(match[1]), int(match[2])
        if width * height > MAX_PIXELS:
            raise UsageError(f"--size {size}", f"more than {MAX_PIXELS} pixels")
        return (height, width)
    if seconds is not None:
        length = round(seconds * (spec.rate or 0.0)) if math.isfinite(seconds) else 0
        if spec.modality != "audio" or length < 1:
            reason = "too short" if spec.modality == "audio" else "the prior is of pictures"
            raise UsageError(f"--seconds {seconds:g}", reason)
        if length > MOST_SAMPLES:
            raise UsageError(f"--seconds {seconds:g}", f"more than {MOST_SAMPLES} samples of sound")
        return (length,)
    if not usual:
        flag = "--size WxH" if spec.modality == "image" else "--seconds T"
        raise UsageError("the model does not say what size it was trained on", hint=flag)
    return usual
