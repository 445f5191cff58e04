"""What each verb will read and write, resolved and checked before a model is loaded. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.codes import files
from vqtok.corpus.formats import FORMATS
from vqtok.errors import UsageError, VqtokError
from vqtok.media.kinds import CODES_SUFFIXES, MODALITIES, READ_ONLY, Kind, LeftOut, supported
from vqtok.media.plan import Job as Job
from vqtok.media.plan import Plan as Plan
from vqtok.media.plan import inputs_of, plan
from vqtok.pipeline.models import PLURALS, Models

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo
    from vqtok.codes.spec import CodeSpec
    from vqtok.media.items import Item

RECON = ".recon"
STREAM = "stream"
"""Format of codes that leave while the recording is read: ``codes.streams``."""
MEDIA: tuple[Kind, ...] = ("image", "audio")
CODES: tuple[Kind, ...] = ("codes",)
DEFAULT_FORMAT = {"image": "png", "audio": "wav"}
KEPT = {"image": f"{RECON}.png", "audio": f"{RECON}.wav"}
"""How reconstructions end that an evaluation keeps; the picture beside each: ``.compare.png``."""


@dataclass(frozen=True)
class CorpusPlan:
    """What a corpus will be made of.

    Attributes:
        items: In the order of the arguments.
        info: The one model; None if no item can be encoded.
        left_out: Files in directories and tars that are neither images nor audio, nor lie beside
            one.
    """

    items: tuple[Item, ...]
    info: ModelInfo | None
    left_out: LeftOut = field(default_factory=LeftOut)


def for_corpus(inputs: Sequence[str], *, models: Models) -> CorpusPlan:
    """Images or audio → the items of a corpus, and the model that encodes them.

    Raises:
        UsageError: both kinds and no model named, a model without codes, or items that cannot be
            told apart.
        CheckpointError: no such model.
    """
    from vqtok.media.items import items_of, with_beside

    left_out = LeftOut()
    items = tuple(with_beside(items_of(inputs, MEDIA, left_out=left_out)))
    info = models.named()
    kinds = sorted({item.kind for item in items if item.kind and item.problem is None})
    if info is None and len(kinds) > 1:
        both = " and ".join(PLURALS[kind] for kind in kinds)
        raise UsageError(
            f"{both} in one corpus: a corpus is made by one model",
            hint="make one of each kind; or pass -m NAME, and files of the other kind fail",
        )
    if info is None and kinds:
        info = models.info_for_kind(kinds[0])
    if info is not None:
        info.spec.require_codes(info.name)
    carried = {str(place) for item in items for _, place in item.beside}
    return CorpusPlan(items, info, left_out.without(carried))


def for_encode(
    inputs: Sequence[str],
    *,
    output: str | None = None,
    format: str | None = None,
    force: bool = False,
    skip_existing: bool = False,
) -> Plan:
    """Images and audio → codes files: ``cat.png → cat.safetensors``.

    Raises:
        UsageError: targets that collide, exist, or whose suffix is no codes format; a stream of
            anything but audio.
    """
    if format not in (None, STREAM) and f".{format}" not in CODES_SUFFIXES:
        raise UsageError(
            f"--format {format}",
            "unknown codes format",
            hint=f"npy, safetensors, vqz or {STREAM}; for a corpus: {', '.join(FORMATS)}",
        )
    made = plan(
        inputs,
        output=output,
        kinds=MEDIA,
        suffix=".npy" if format == STREAM else f".{format or 'safetensors'}",
        force=force,
        skip_existing=skip_existing,
    )
    for job in made.jobs:
        if format == STREAM and job.kind != "audio":
            what = f"only audio leaves as it is made, {job.source or 'stdin'} is an image"
            raise UsageError(f"--format {STREAM}", what, hint="--format npy")
        suffix = "" if job.target is None else job.target.suffix.lower()
        if format is None and job.target is not None and suffix not in CODES_SUFFIXES:
            raise UsageError(
                job.target,
                f"unknown suffix for codes {suffix!r}",
                hint=".npy, .safetensors or .vqz, or --format",
            )
    return made


def for_decode(
    inputs: Sequence[str],
    *,
    output: str | None = None,
    format: str | None = None,
    foreign: CodeSpec | None = None,
    force: bool = False,
    skip_existing: bool = False,
) -> Plan:
    """Codes files → images and audio: ``cat.npy → cat.recon.png``, by what the header says.

    Args:
        inputs: Files, directories, patterns, ``-``.
        output: The ``-o`` argument.
        format: Suffix of what is written; None: by ``output``, else png and wav.
        foreign: Spec of the model of arrays that have no header.
        force: Overwrite existing targets.
        skip_existing: Leave out inputs whose targets exist.

    Raises:
        UsageError: targets that collide, exist, or whose suffix is no format of ours.
    """
    if format is not None and modality_of(format) is None:
        raise UsageError(f"--format {format}", "cannot be written", hint=_media())

    def suffix(source: Path | None, kind: Kind) -> str:
        if format is not None:
            return f"{RECON}.{format.lower().lstrip('.')}"
        if source is None:
            raise UsageError(
                "-", "what is written is not known yet", hint="-o FILE, or --format png"
            )
        return f"{RECON}.{DEFAULT_FORMAT[_modality(source, foreign)]}"

    made = plan(
        inputs,
        output=output,
        kinds=CODES,
        suffix=suffix,
        force=force,
        skip_existing=skip_existing,
    )
    jobs, failures = [], list(made.failures)
    for job in made.jobs:
        try:
            _check_target(job, format, foreign)
            jobs.append(job)
        except UsageError:
            raise
        except VqtokError as error:
            failures.append((str(job.source), error))
    return replace(made, jobs=tuple(jobs), failures=tuple(failures))


def for_evaluate(inputs: Sequence[str], *, output: str | None = None, force: bool = False) -> Plan:
    """Images and audio → reports; with ``output``, a directory, also reconstructions in it.

    Raises:
        UsageError: targets that collide or exist, or an output that is no directory.
    """
    if output is None:
        # Nothing is written, so no two inputs can be in each other's way.
        found = inputs_of(inputs, MEDIA)
        jobs = tuple(Job(item.path, None, item.kind) for item in found.items)
        return Plan(jobs, (), found.failures, found.left_out)
    if "{" not in output and not output.endswith("/"):
        output += "/"  # eval keeps several files per input: -o is always a directory
    return plan(
        inputs,
        output=output,
        kinds=MEDIA,
        suffix=lambda source, kind: KEPT[kind],
        force=force,
    )


def _check_target(job: Job, format: str | None, foreign: CodeSpec | None) -> None:
    """Refuse what cannot come out well, as far as the header tells without reading codes."""
    if job.target is None:
        return
    wanted = modality_of(format or job.target.suffix)
    if wanted is None:
        raise UsageError(job.target, f"cannot write {job.target.suffix!r}", hint=_media())
    if job.source is None:
        return
    found = _modality(job.source, foreign)
    if found != wanted:
        what = {"image": "an image", "audio": "audio"}
        mismatch = f"codes of {what[found]} cannot be written as {what[wanted]}"
        raise UsageError(
            job.source,
            f"{mismatch}: {job.target}",
            hint=f"-o NAME.{DEFAULT_FORMAT[found]}",
        )


def _modality(source: Path, foreign: CodeSpec | None) -> str:
    return files.read_header(source).spec.modality if foreign is None else foreign.modality


def modality_of(format: str) -> str | None:
    """Modality of a format that can be written, or None."""
    suffix = f".{format.lower().lstrip('.')}"
    found = MODALITIES.get(suffix)
    return None if found == "codes" or suffix in READ_ONLY else found


def _media() -> str:
    return f"images: {supported('image', writing=True)}; audio: {supported('audio', writing=True)}"
