"""Images or audio in a data set that Hugging Face's ``datasets`` saved, read in place.

``hf-dataset:PATH#column`` names a folder of ``save_to_disk`` and its column of images or audio. Its
Arrow files hold the bytes of each value as they are, one after the other: a value is an offset and
a size, as a member of a tar. Texts of a column "text", "caption" or "transcript" lie beside. Needs
pyarrow (``vqtok[arrow]``); nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from vqtok import regular
from vqtok.errors import MediaError, UsageError
from vqtok.media.kinds import HEAD_BYTES, MODALITIES, Kind, sniff
from vqtok.media.opening import os_message
from vqtok.media.tars import Member

PREFIX = "hf-dataset:"

TEXTS = ("text", "caption", "transcript")

_MOST_BYTES = 1 << 26


class Row(NamedTuple):
    """Holds one row of a data set.

    Attributes:
        name: "0000012.png", or with the name that the data set has for it: "0000012-cat.png".
        kind: What it holds; None if that is not known.
        place: Its bytes, or the file that it names.
        text: The bytes of its text, or None.
        problem: Why it cannot be read, or None.
    """

    name: str
    kind: Kind | None
    place: Path | Member
    text: Member | None
    problem: MediaError | None


def rows(argument: str, kinds: Collection[Kind]) -> Iterator[Row]:
    """Yield the rows of a data set's column.

    Args:
        argument: ``hf-dataset:PATH#column``.
        kinds: Kinds of values that are wanted; others have a problem.

    Raises:
        UsageError: no such data set or column, or pyarrow is not installed.
        MediaError: damaged.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise UsageError(argument, "needs pyarrow", hint="pip install 'vqtok[arrow]'") from error
    place, mark, column = argument.removeprefix(PREFIX).rpartition("#")
    if not mark or not place or not column:
        raise UsageError(argument, "which column?", hint=f"{PREFIX}PATH#image")
    number = 0
    for path in _files(Path(place)):
        try:
            with pa.memory_map(str(path)) as source:
                size, start = source.size(), source.read_buffer(1).address
                source.seek(0)
                reader = pa.ipc.open_stream(source)
                _check(argument, column, reader.schema)
                texts = [name for name in TEXTS if name in reader.schema.names]
                for batch in reader:
                    values, named = _values(batch.column(column))
                    found = _members(path, values, start, size)
                    beside: list[Member | None] = [None] * len(found)
                    if texts and pa.types.is_string(reader.schema.field(texts[0]).type):
                        beside = _members(path, batch.column(texts[0]), start, size)
                    for member, name, text in zip(found, named, beside, strict=True):
                        yield _row(path, number, member, name, text, kinds)
                        number += 1
        except (pa.ArrowException, OSError, ValueError) as error:
            raise MediaError(path, f"damaged: {error}") from error


def _files(folder: Path) -> list[Path]:
    splits = folder / "dataset_dict.json"
    if splits.is_file():
        names = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
        hint = ", ".join(f"{PREFIX}{folder}/{name}#…" for name in names)
        raise UsageError(folder, "a data set of several splits", hint=hint)
    try:
        state = json.loads(regular.read(folder / "state.json", most=_MOST_BYTES))
        names = [str(each["filename"]) for each in state["_data_files"]]
    except OSError as error:
        reason = f"no data set that was saved: state.json: {os_message(error)}"
        raise UsageError(folder, reason, hint="dataset.save_to_disk(PATH) makes one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MediaError(folder / "state.json", "damaged") from error
    if any(PurePosixPath(name).name != name for name in names):
        raise MediaError(folder / "state.json", "damaged: files that lead elsewhere")
    return [folder / name for name in names]


def _check(argument: str, column: str, schema: Any) -> None:
    import pyarrow as pa

    if column not in schema.names:
        raise UsageError(argument, "no such column", hint=f"columns: {', '.join(schema.names)}")
    kind = schema.field(column).type
    if pa.types.is_struct(kind):
        inner = {kind.field(n).name: kind.field(n).type for n in range(kind.num_fields)}
        kind = inner.get("bytes")
    if kind is None or not pa.types.is_binary(kind):
        raise UsageError(argument, "holds neither images nor audio")


def _values(column: Any) -> tuple[Any, list[str | None]]:
    """Return the column's bytes, and the name of each."""
    import pyarrow as pa

    if not pa.types.is_struct(column.type):
        return column, [None] * len(column)
    names = [column.type.field(n).name for n in range(column.type.num_fields)]
    parts = dict(zip(names, column.flatten(), strict=True))
    named = parts["path"].to_pylist() if "path" in parts else [None] * len(column)
    return parts["bytes"], named


def _members(path: Path, values: Any, start: int, size: int) -> list[Member | None]:
    """Return where each value's bytes lie in the file; None: it is missing."""
    import numpy as np

    _, offsets, data = values.buffers()
    places = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    address = 0 if data is None else data.address - start
    if len(values) and data is not None and not 0 <= address <= address + data.size <= size:
        raise MediaError(path, "compressed: its values do not lie in the file as they are")
    sound = values.is_valid().to_pylist()
    pairs = zip(places[:-1].tolist(), places[1:].tolist(), sound, strict=True)
    return [
        Member(path, "", address + begin, end - begin) if valid else None
        for begin, end, valid in pairs
    ]


def _row(
    path: Path,
    number: int,
    member: Member | None,
    named: str | None,
    text: Member | None,
    kinds: Collection[Kind],
) -> Row:
    base = PurePosixPath(named.replace("\\", "/")).name if named else ""
    if member is None and not named:
        name = f"{number:07d}"
        return Row(name, None, path / name, None, MediaError(path / name, "no value"))
    suffix = PurePosixPath(base).suffix.lower()
    kind = MODALITIES.get(suffix)
    if member is not None and kind is None:
        with member.open() as stream:
            kind = sniff(stream.read(HEAD_BYTES))
    name = f"{number:07d}-{base}" if base else f"{number:07d}"
    place: Path | Member
    place = Path(str(named)) if member is None else member._replace(name=name)
    problem = None if kind in kinds else MediaError(str(place), "neither an image nor audio")
    beside = None if text is None else text._replace(name=f"{name}.txt")
    return Row(name, kind, place, beside, problem)
