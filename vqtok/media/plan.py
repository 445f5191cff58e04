"""Inputs × ``-o`` → (source, target) pairs, resolved before any model is loaded.

``-o`` is a file for one input; a directory if it ends in ``/``, exists as one, or the inputs are
many; a template if it holds ``{stem}``, ``{name}``, ``{parent}`` or ``{index}`` (counted from 0;
format specs work: ``{index:04d}``); ``-`` for stdout. Where inputs differ in their suffixes alone,
``a.jpg`` and ``a.png``, results keep these: ``a.jpg.npy``. Without ``-o`` results go beside their
inputs, and stdin's to stdout. Files found under a directory argument keep their place in its tree
below ``-o DIR/``.

Standard library only: planning a million files loads neither numpy nor a codec.
"""

from __future__ import annotations

import os
import string
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vqtok.errors import UsageError, VqtokError, explained
from vqtok.media.inputs import STDIN, Input, Inputs, place_of
from vqtok.media.inputs import inputs_of as inputs_of
from vqtok.media.kinds import MODALITIES as MODALITIES
from vqtok.media.kinds import Kind as Kind
from vqtok.media.kinds import LeftOut
from vqtok.media.kinds import modality as modality
from vqtok.media.kinds import sniff as sniff
from vqtok.media.opening import os_message

Naming = Callable[[Input, int], Path | None]
Suffix = str | Callable[[Path | None, Kind], str]

_FIELDS = ("stem", "name", "parent", "index")
_SHOWN = 4  # of a group of equal errors
# Below this many targets in one directory, asking for each is cheaper than listing it.
_LISTING_PAYS = 16


@dataclass(frozen=True)
class Job:
    """One thing to do.

    Attributes:
        source: None for stdin.
        target: None for stdout.
        kind: What the source holds.
    """

    source: Path | None
    target: Path | None
    kind: Kind


@dataclass(frozen=True)
class Plan:
    """What a command is going to do.

    Attributes:
        jobs: In the order of the arguments; no two write the same target.
        skipped: Targets that exist and are left as they are.
        failures: (argument or file, why nothing can be done with it); the jobs go on without it.
        left_out: Files in directories that are of no wanted kind.
    """

    jobs: tuple[Job, ...]
    skipped: tuple[Path, ...]
    failures: tuple[tuple[str, VqtokError], ...]
    left_out: LeftOut = field(default_factory=LeftOut)


def plan(
    inputs: Sequence[str],
    *,
    output: str | None,
    kinds: Collection[Kind],
    suffix: Suffix,
    force: bool = False,
    skip_existing: bool = False,
) -> Plan:
    """Settle what is read and what is written.

    Args:
        inputs: Files, directories, patterns, ``-``.
        output: The ``-o`` argument, or None.
        kinds: Kinds of files to take.
        suffix: What follows the stem in names that are made up here: ``".safetensors"``,
            ``".recon.png"``; or a function of source and kind, which may raise a ``VqtokError``
            to fail that one input.
        force: Overwrite existing targets.
        skip_existing: Leave inputs out whose targets exist.

    Raises:
        UsageError: no two inputs may share a target, no target may exist (without ``force`` or
            ``skip_existing``), be an input or lie where nothing can be written.
    """
    if force and skip_existing:
        raise UsageError("--force and --skip-existing exclude each other")
    found = inputs_of(inputs, kinds)
    failures = list(found.failures)
    jobs = _jobs(found, _naming(output, found, suffix), failures)
    jobs = _with_suffixes(jobs, output)
    _refuse_collisions(jobs, output)
    existing = _existing([job.target for job in jobs if job.target is not None])
    _refuse_to_destroy(jobs, existing, force or skip_existing)
    skipped = existing if skip_existing else set()
    kept = tuple(job for job in jobs if job.target not in skipped) if skipped else tuple(jobs)
    refuse_unwritable({_folder(job.target) for job in kept if job.target is not None})
    return Plan(kept, tuple(sorted(skipped)), tuple(failures), found.left_out)


def _jobs(found: Inputs, name: Naming, failures: list[tuple[str, VqtokError]]) -> list[Job]:
    jobs: list[Job] = []
    for index, item in enumerate(found.items):
        try:
            jobs.append(Job(item.path, name(item, index), item.kind))
        except UsageError:
            raise
        except (VqtokError, OSError) as error:
            source = STDIN if item.path is None else str(item.path)
            failures.append((source, explained(error, source)))
    return jobs


def _naming(output: str | None, found: Inputs, suffix: Suffix) -> Naming:
    """States how the target of each input is called."""

    def made(item: Input) -> str:
        end = suffix if isinstance(suffix, str) else suffix(item.path, item.kind)
        return ("stdin" if item.path is None else item.path.stem) + end

    if output is None:
        return lambda item, _: None if item.path is None else item.path.with_name(made(item))
    if output == "":
        raise UsageError("-o", "empty name")
    folder = Path(output)
    if output == STDIN:
        if found.many:
            what = "stdout holds one result, the inputs may be many"
            raise UsageError("-o -", what, hint="-o DIR/")
        return lambda item, _: None
    if "{" in output and not os.path.lexists(output):
        return _template(output)
    try:
        is_there, is_folder = folder.exists(), folder.is_dir()
    except OSError as error:
        raise UsageError(f"-o {output}", f"cannot write there: {os_message(error)}") from error
    if output.endswith(("/", os.sep)) or is_folder:
        return _below(folder, made)
    if not found.many:
        return lambda item, _: folder
    if folder.suffix.lower() in MODALITIES or is_there:
        raise UsageError(
            f"-o {output}",
            "one file cannot hold the results of several inputs",
            hint=f"-o DIR/, or -o 'DIR/{{stem}}{folder.suffix}'",
        )
    return _below(folder, made)


def _below(folder: Path, made: Callable[[Input], str]) -> Naming:
    """Targets in a directory; what was found in a directory keeps its place in that tree."""
    folders: dict[tuple[str, Path], str] = {}

    def name(item: Input, index: int) -> Path:
        if item.path is None or item.root is None:
            return folder / made(item)
        # Paths are built once per folder, not per file: there may be a million files.
        place = _folder(item.path)
        if (place, item.root) not in folders:
            folders[place, item.root] = str(folder / Path(place).relative_to(item.root))
        return Path(f"{folders[place, item.root]}{os.sep}{made(item)}")

    return name


def _template(output: str) -> Naming:
    hint = "fields: " + " ".join(f"{{{field}}}" for field in _FIELDS)
    try:
        parts = list(string.Formatter().parse(output))
    except ValueError as error:
        raise UsageError(f"-o {output}", f"not a template: {error}", hint=hint) from error
    fields = {field for _, field, _, _ in parts if field is not None}
    if any("{" in (form or "") for _, _, form, _ in parts):
        raise UsageError(f"-o {output}", "not a template: a field inside a field", hint=hint)
    unknown = sorted(fields - set(_FIELDS))
    if unknown:
        raise UsageError(f"-o {output}", f"unknown field {{{unknown[0]}}}", hint=hint)

    def fill(item: Input, index: int) -> Path:
        path = item.path or Path("stdin")
        values = {"stem": path.stem, "name": path.name, "parent": str(path.parent), "index": index}
        try:
            return Path(output.format(**values))
        except (ValueError, TypeError, MemoryError, OverflowError) as error:
            raise UsageError(f"-o {output}", f"not a template: {error}", hint=hint) from error

    return fill


def _clashes(jobs: Sequence[Job]) -> list[list[Job]]:
    """Groups of jobs that would write one target."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        if job.target is not None:
            groups.setdefault(place_of(job.target), []).append(job)
    return [group for group in groups.values() if len(group) > 1]


def _with_suffixes(jobs: list[Job], output: str | None) -> list[Job]:
    """Keep the suffixes of inputs that differ in these alone: ``a.png`` → ``a.png.npy``."""
    if output is not None and "{" in output and not os.path.lexists(output):
        return jobs
    renamed: dict[int, Job] = {}
    while True:
        now = [renamed.get(id(job), job) for job in jobs]
        clashing = {
            id(job)
            for group in _clashes(now)
            if len({job.source.name for job in group if job.source is not None}) > 1
            for job in group
        }
        more = {
            id(old): _with_suffix(old)
            for old, job in zip(jobs, now, strict=True)
            if id(job) in clashing and id(old) not in renamed and old.source is not None
        }
        if not more:
            return now
        renamed |= more


def _with_suffix(job: Job) -> Job:
    source, target = job.source, job.target
    if source is None or target is None or not target.name.startswith(source.stem):
        return job
    return replace(job, target=target.with_name(source.name + target.name[len(source.stem) :]))


def _refuse_collisions(jobs: Sequence[Job], output: str | None) -> None:
    clashes = _clashes(jobs)
    if not clashes:
        return
    first, second = (str(job.source or "stdin") for job in clashes[0][:2])
    more = f" (and {len(clashes) - 1} more such)" if len(clashes) > 1 else ""
    target = clashes[0][0].target
    folder = "" if output is None or "{" in output else output.rstrip("/") + "/"
    same_name = Path(first).name == Path(second).name
    field = "{index}-{stem}" if same_name else "{name}"
    end = "".join(target.suffixes) if target else ""
    raise UsageError(
        target,
        f"both {first} and {second} would be written there{more}",
        hint=f"-o '{folder or '{parent}/'}{field}{end}'",
    )


def _existing(targets: Sequence[Path]) -> set[Path]:
    """Those targets that exist; each directory is listed once."""
    by_folder: defaultdict[str, list[Path]] = defaultdict(list)
    for target in targets:
        by_folder[_folder(target)].append(target)
    found: set[Path] = set()
    for folder, group in by_folder.items():
        if len(group) < _LISTING_PAYS:
            found.update(target for target in group if _is_there(target))
            continue
        try:
            with os.scandir(folder) as listing:
                names = {entry.name for entry in listing}
        except OSError:  # missing: nothing exists; unwritable: reported when writing is checked
            continue
        if names:
            found.update(target for target in group if target.name in names and _is_there(target))
    return found


def _is_there(target: Path) -> bool:
    # /dev/stdout and pipes are there to be written to. Writing finds out what asking cannot, and
    # fails one input alone.
    try:
        return target.is_file() or target.is_dir() or target.is_symlink()
    except OSError:
        return False


def _refuse_to_destroy(jobs: Sequence[Job], existing: set[Path], allowed: bool) -> None:
    """Refuse to overwrite inputs and directories always, other files unless it is allowed."""
    if not existing:
        return
    sources = {place_of(job.source) for job in jobs if job.source is not None}
    own = [
        job.target
        for job in jobs
        if job.target in existing
        and (place_of(job.target) in sources or _same_file(job.source, job.target))
    ]
    directories = sorted(target for target in existing if target.is_dir())
    if own:
        raise UsageError(
            *_grouped(
                "is an input, not to be overwritten", "are inputs, not to be overwritten", own
            )
        )
    if directories:
        raise UsageError(*_grouped("is a directory", "are directories", directories))
    if not allowed:
        raise UsageError(
            *_grouped("already exists", "already exist", sorted(existing)),
            hint="-f overwrites, --skip-existing leaves them as they are",
        )


def _same_file(source: Path | None, target: Path) -> bool:
    try:
        return source is not None and source.samefile(target)
    except OSError:
        return False


def refuse_unwritable(folders: Collection[str]) -> None:
    """Refuse targets below something that is no directory or does not let us write."""
    for folder in sorted(folders):
        nearest = Path(folder)
        try:
            while not nearest.exists() and nearest != nearest.parent:
                nearest = nearest.parent
        except OSError as error:
            raise UsageError(folder, f"cannot write there: {os_message(error)}") from error
        if not nearest.is_dir():
            raise UsageError(folder, f"cannot write there: {nearest} is not a directory")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise UsageError(folder, "cannot write there: permission denied")


def _folder(path: Path) -> str:
    """Text of ``path.parent``, at a tenth of its cost."""
    head, separator, _ = str(path).rpartition(os.sep)
    return head or separator or "."


def _grouped(one: str, several: str, paths: Sequence[Path]) -> tuple[str, str]:
    shown = ", ".join(str(path) for path in paths[:_SHOWN])
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{shown}{more}", one if len(paths) == 1 else several
