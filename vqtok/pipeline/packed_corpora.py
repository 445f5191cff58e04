"""Corpora ⇄ packed codes files, an item each: ``cats/1.png`` of a corpus is ``cats/1.png.vqz``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok import atomic
from vqtok.codes import files, rates
from vqtok.codes.packed import SUFFIX
from vqtok.corpus.format import named
from vqtok.corpus.index import is_corpus
from vqtok.corpus.items import KINDS, LARGEST
from vqtok.corpus.reader import CorpusReader
from vqtok.errors import CodesError, UsageError
from vqtok.media.items import items_of, read_beside, with_beside
from vqtok.media.kinds import LeftOut
from vqtok.media.plan import Job
from vqtok.pipeline.corpus_carry import Carry, carry_of
from vqtok.pipeline.corpus_decode import inside
from vqtok.pipeline.pack import Sizes
from vqtok.pipeline.plans import CODES
from vqtok.pipeline.results import Done, Failed

if TYPE_CHECKING:
    from vqtok.codes.spec import CodeSpec
    from vqtok.corpus.writer import CorpusWriter
    from vqtok.media.items import Item
    from vqtok.pipeline.contexts import Contexts


def corpus_of(inputs: Sequence[str]) -> Path | None:
    """Return the corpus that is to be packed; None if files are.

    Raises:
        UsageError: a corpus and something else.
    """
    found = [Path(each) for each in inputs if is_corpus(Path(each))]
    if found and len(inputs) > 1:
        raise UsageError(found[0], "a corpus is packed by itself", hint="a command for each")
    return found[0] if found else None


def pack_items(
    reader: CorpusReader,
    folder: Path,
    *,
    contexts: Contexts,
    force: bool = False,
    skip_existing: bool = False,
) -> Iterator[tuple[Done | Failed, Sizes | None]]:
    """Write each item of a corpus as a packed file below a folder, and beside it what it carries.

    Args:
        reader: Of the corpus.
        folder: Made if missing.
        contexts: Finds context models.
        force: Overwrite existing files.
        skip_existing: Leave out items whose packed files exist.

    Yields:
        A result for each item that is not left out, and its sizes; those of codes in the corpus
        are what they take nominally.

    Raises:
        UsageError: a file exists.
        CodesError: a damaged corpus.
    """
    for entry in reader:
        try:
            target = inside(folder, f"{entry.name}{SUFFIX}", entry.name)
        except CodesError as error:
            yield Failed.of(Path(entry.name), error, has_model=True), None
            continue
        if not force and target.exists():
            if skip_existing:
                continue
            hint = "-f overwrites, --skip-existing goes on"
            raise UsageError(target, "already exists", hint=hint)
        begun = time.perf_counter()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for kind, data in sorted(entry.carried.items()):
                with atomic.file(target.with_suffix(f".{kind}")) as temporary:
                    temporary.write_bytes(data)
            context = contexts.packing(entry.header)
            files.write(target, entry.codes, entry.header, context=context)
            size = target.stat().st_size
        except Exception as error:
            yield Failed.of(target, error, has_model=True), None
            continue
        counts = [array.size for array in entry.codes.levels]
        bits = rates.bits(entry.header.spec.levels, counts)
        job = Job(Path(entry.name), target, "codes")
        seconds = time.perf_counter() - begun
        done = Done.of(job, entry.header, entry.codes.shapes, seconds=seconds)
        yield done, Sizes(-(-round(bits) // 8), size, sum(counts), bits)


def items(inputs: Sequence[str]) -> tuple[list[Item], LeftOut]:
    """Codes files → the items of a corpus, named as those that they were packed from.

    Raises:
        UsageError: corpora, standard input, or files that have one name.
    """
    for each in inputs:
        if is_corpus(Path(each)):
            raise UsageError(each, "a corpus already", hint="`vqtok pack` makes files of it")
    left_out = LeftOut()
    found = with_beside(items_of(inputs, CODES, left_out=left_out))
    names = [each.name.removesuffix(SUFFIX) for each in found]
    if len(set(names)) == len(names) and all(names):
        found = [each._replace(name=name) for each, name in zip(found, names, strict=True)]
    return found, left_out


def spec_of(items: Iterable[Item]) -> tuple[CodeSpec, str]:
    """Return the spec that a corpus of codes files has, and the name of their model.

    Its depth is the largest that one of them has.

    Raises:
        CodesError: none of them can be read.
    """
    found, model = None, ""
    for each in items:
        if each.problem is not None or not isinstance(each.place, Path):
            continue
        try:
            header = files.read_header(each.place)
        except CodesError:
            continue
        if found is None:
            found, model = header.spec, header.model
        elif (header.spec.depth or 0) > (found.depth or 0) and (
            header.spec.fingerprint == found.fingerprint
        ):
            found = header.spec
    if found is None:
        raise CodesError("none of these files holds codes")
    return found, model


def unpack_items(
    items: Sequence[Item], writer: CorpusWriter, *, contexts: Contexts, folder: Path
) -> Iterator[Done | Failed]:
    """Add what is still pending to a corpus; each result is recorded before it is yielded.

    The caller finishes the corpus. Closing the generator early leaves one that can be resumed.

    Args:
        items: All of the corpus.
        writer: Of the same items' names.
        contexts: Finds context models.
        folder: Of the corpus, for the results.

    Raises:
        CodesError: the folder cannot be written.
    """
    for number in writer.pending():
        item, begun = items[number], time.perf_counter()
        source = Path(str(item.place))
        try:
            if item.problem is not None:
                raise item.problem
            if not isinstance(item.place, Path):
                raise UsageError(item.place, "members of tars are not unpacked")
            codes, header = files.read(item.place, contexts=contexts)
            carried = {
                kind: read_beside(place, largest=LARGEST)
                for kind, place in item.beside
                if kind in writer.carry
            }
            if carried:
                writer.check_carried(carried)
            writer.check(codes)
        except Exception as error:
            failed = Failed.of(source, error, has_model=True)
            writer.fail(number, failed.error.without(source))
            yield failed
            continue
        writer.add(number, codes, header, carried)
        job = Job(source, folder, "codes")
        yield Done.of(job, header, codes.shapes, seconds=time.perf_counter() - begun)


def carry_for(items: Sequence[Item], *, format: str, folder: Path, restart: bool) -> Carry:
    """Decide what a corpus carries: all that lies beside its items and that it can hold."""
    found = {kind for each in items for kind, _ in each.beside}
    kinds = [kind for kind in KINDS if kind in found and kind in named(format).carries]
    given = ",".join(kinds) or None
    return carry_of(given, items, format=format, folder=folder, restart=restart)


def job_of(spec: CodeSpec, model: str) -> dict[str, str | None]:
    """Return what makes two runs the same job."""
    return {"fingerprint": spec.fingerprint, "model": model, "source": "codes files"}


def summed(total: Sizes, sizes: Sizes) -> Sizes:
    """Add sizes up."""
    return Sizes(
        total.before + sizes.before,
        total.after + sizes.after,
        total.codes + sizes.codes,
        total.nominal_bits + sizes.nominal_bits,
    )
