"""Rooms of many files in one: tars of media as input, and corpora of codes as output."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import shutil
import tarfile
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tests.hostile import crafted, pictures, recordings
from tests.hostile.mutations import NUMBERS, Mutant, mutate, mutate_json
from tests.hostile.room import MAX_PIXELS, UNDECODED, Fault, Room, check_message
from vqtok.config import to_line
from vqtok.errors import VqtokError

NAMES: tuple[bytes, ...] = (
    b"../x.png", b"/abs.png", b"a/../../b.png", b"", b"x" * 5000 + b".png", b"\0.png",
    b"a\0b.png", b"\x1b[2J.png", b"a\nb.png", b"\xff\xfe.png", b"..\\x.png", b".png",
    b"\xe2\x80\xae\xc3\xa9.png", b"a//./b.png", b"/" * 400 + b"a.png", b"a/" * 2000 + b"a.png",
    b"../../../../tmp/outside.wav", b"one.png", b"index.json", b"..", b"C:\\x.png", b"~/x.png",
    b"-f.png",
)  # fmt: skip
"""What a file in a tar, or an item of a corpus, may be called by somebody who means no good."""

TYPES = b"\x00" + b"01234567xgLKSDMNVX"
SIZES = (*NUMBERS, -1, -512, -(1 << 40), 1 << 90)

BLOCK = tarfile.BLOCKSIZE


def seal_tar(data: bytes, at: int = 0) -> bytes:
    """Compute the checksum of the header at ``at`` anew."""
    head = bytearray(data[at : at + BLOCK])
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return data[:at] + bytes(head) + data[at + BLOCK :]


def seal_all(data: bytes) -> bytes:
    """The same for every header that is found."""
    for mark in re.finditer(b"ustar", data):
        at = mark.start() - 257
        if at >= 0 and at + BLOCK <= len(data):
            data = seal_tar(data, at)
    return data


def member(
    name: bytes, data: bytes, *, type: bytes = b"0", size: int | None = None, link: bytes = b""
) -> bytes:
    """A file in a tar, and its header with whatever lies."""
    number = len(data) if size is None else size
    field = (
        number.to_bytes(12, "big", signed=True) if not 0 <= number < 8**11 else b"%011o\0" % number
    )
    if not 0 <= number < 8**11:
        field = (b"\xff" if number < 0 else b"\x80") + field[1:]
    head = name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field
    head += b"00000000000\0" + bytes(8) + type + link[:100].ljust(100, b"\0") + b"ustar\x0000"
    return seal_tar(head.ljust(BLOCK, b"\0")) + data + bytes(-len(data) % BLOCK)


def pax(key: bytes, value: bytes, *, length: int | None = None, type: bytes = b"x") -> bytes:
    """A pax header of one record, whose length may be a lie."""
    body = b" " + key + b"=" + value + b"\n"
    whole = len(body) + 1
    while len(str(whole)) + len(body) != whole:
        whole = len(str(whole)) + len(body)
    return member(b"pax", b"%d" % (whole if length is None else length) + body, type=type)


@cache
def media() -> dict[str, bytes]:
    sound, heard = pictures.seeds(), recordings.seeds()
    pngs = [data for name, data in sorted(sound.items()) if name.startswith("png")]
    return {"one.png": pngs[0], "a/two.png": pngs[-1], "three.wav": heard["wav PCM_16"],
            "four.wav": heard["wav PCM_U8"]}  # fmt: skip


def _special(rng: random.Random) -> tuple[bytes, str]:
    """A member that lies."""
    title = rng.choice(sorted(media()))
    data, name = media()[title], title.encode()
    kind, odd = rng.randrange(6), rng.choice(NAMES)
    if kind == 0:
        return member(odd, data), f"{title} called {odd[:30]!r}"
    if kind == 1:
        type = bytes((rng.choice(TYPES),))
        return member(name + b".png", data, type=type, link=odd), f"{title} of type {type!r}"
    if kind == 2:
        size = rng.choice(SIZES)
        return member(b"x" + name.replace(b"/", b""), data, size=size), f"{title} of {size} bytes"
    if kind == 3:
        size = rng.choice((None, None, *SIZES))
        long = member(b"././@LongLink", odd + b"\0", type=b"L", size=size)
        return long + member(name, data), f"{title} called {odd[:30]!r} by GNU, {size} bytes"
    key = rng.choice((b"path", b"path", b"size", b"linkpath", b"GNU.sparse.map", b"mtime",
                      b"GNU.sparse.size", b"GNU.sparse.major", b"hdrcharset", b"GNU.sparse.name",
                      b"GNU.sparse.realsize"))  # fmt: skip
    value = rng.choice((odd, b"%d" % rng.choice(SIZES), b"1", b"0,5,7", b"9" * 5000, b"nan"))
    length = rng.choice((None, None, *NUMBERS))
    head = pax(key, value, length=length, type=rng.choice((b"x", b"g")))
    return head + member(name, data), f"{title}: pax {key!r} {value[:20]!r}, length {length}"


class TarRoom(Room):
    """Tars of media, as the items of a corpus."""

    RATE = 24000

    def _by_hand(self) -> dict[str, bytes]:
        sound = b"".join(member(name.encode(), data) for name, data in media().items())
        bombs = crafted.pickles()
        found = {f"{title} as {suffix}": member(b"p." + suffix.encode(), bomb)
                 for title, bomb in bombs.items() for suffix in ("png", "wav")}  # fmt: skip
        found |= {f"a name {name[:20]!r}": sound + member(b"././@LongLink", name, type=b"L")
                  + member(name, media()["one.png"]) for name in NAMES}  # fmt: skip
        found |= {f"a size {size}": sound + member(b"z.png", b"", size=size) for size in SIZES}
        found |= {f"a pax size {size}": sound + pax(b"size", b"%d" % size) + member(b"z.png", b"")
                  for size in SIZES}  # fmt: skip
        found["4 000 empty files"] = b"".join(member(b"%d.png" % n, b"") for n in range(4_000))
        found["20 000 pax headers"] = pax(b"path", b"a.png") * 20_000 + sound
        found["a pax header of 40 MB"] = pax(b"comment", b"x" * (40 << 20)) + sound
        found["a long name of 40 MB"] = member(b"L", b"x" * (40 << 20), type=b"L") + sound
        found["files that overlap"] = member(b"out.png", sound, size=700) + sound
        return found

    def mutant(self, seed: int) -> Mutant:
        rng = random.Random(seed)
        parts = [member(name.encode(), data) for name, data in media().items()]
        steps = []
        kind = rng.random()
        if kind < 0.65:
            for _ in range(rng.choice((1, 1, 2))):
                part, how = _special(rng)
                parts.insert(rng.randrange(len(parts) + 1), part)
                steps.append(how)
        data = b"".join(parts) + bytes(2 * BLOCK)
        if kind > 0.5:
            made = mutate(data, rng, [data, media()["one.png"]])
            data = made.data
            steps.append(made.how)
            if rng.random() < 0.5:
                data = seal_all(data)
                steps.append("sealed")
        return Mutant(data, ", ".join(steps))

    def probe(self, data: bytes) -> str:
        from vqtok.media.items import items_of
        from vqtok.pipeline.signals import Reading, read

        path = self.work / "in.tar"
        path.write_bytes(data)
        before = _tree(self.work)
        items = items_of([str(path)], ("image", "audio"))
        first: VqtokError | None = None
        if len({item.name for item in items}) < len(items):
            raise Fault("two items of one name")
        for number, item in enumerate(items):
            _check_name(item.name)
            how = Reading(item.kind or "image", rate_hz=self.RATE, max_pixels=MAX_PIXELS)
            signal = read(number, item, how)
            if signal.failure is not None:
                check_message(signal.failure.error)
                first = first or signal.failure.error
            elif not signal.alone and not all(np.isfinite(a).all() for a in signal.arrays):
                raise Fault(f"{item.name}: numbers that are none")
        if _tree(self.work) != before:
            raise Fault("written while reading")
        if first is not None:
            raise first
        return "read"


class CorpusRoom(Room):
    """Corpora in every format, one file of them damaged, its checksum perhaps with it."""

    LARGEST = 50_000_000  # bytes

    @cached_property
    def corpora(self) -> dict[str, dict[str, bytes]]:
        """Name → path in the corpus → bytes."""
        found = {}
        for format in ("files", "tar", "bin", "parquet", "arrow"):
            found[f"image-{format}"] = self._made("image", format)
        return found | {f"audio-{format}": self._made("audio", format) for format in ("tar", "bin")}

    def _made(self, kind: str, format: str) -> dict[str, bytes]:
        from tests.hostile.models import codes_files
        from vqtok.codes import files
        from vqtok.corpus.writer import CorpusWriter

        codes, header = files.read(io.BytesIO(codes_files(self.shelf)[f"{kind} npy"]))
        folder = self.work / "made"
        shutil.rmtree(folder, ignore_errors=True)
        suffix = {"image": "png", "audio": "wav"}[kind]
        names = [f"{name}.{suffix}" for name in ("a/one", "a/two", "three", "four", "five")]
        shard = 100 if format in ("files", "bin") else 3
        with CorpusWriter(folder, format=format, names=names, spec=header.spec,
                          job={"model": header.model}, shard_items=shard) as writer:  # fmt: skip
            for number in (0, 1, 3, 4):
                writer.add(number, codes, header)
            writer.fail(2, "no picture at all")
            writer.finish()
        found = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()
        }  # fmt: skip
        shutil.rmtree(folder)
        return found

    def _by_hand(self) -> dict[str, bytes]:
        found = {}
        for corpus, files in self.corpora.items():
            for path, data in files.items():
                for name in NAMES[:10:3] + NAMES[15:16]:
                    text = name.decode("utf-8", "surrogateescape")
                    changed = _relabel(path, data, lambda _, t=text: (_named(_, t), ""))
                    if changed is not None and changed.data != data:
                        found[f"{corpus}/{path} {text[:20]!r}"] = _parcel(corpus, path, 1, changed)
                if path.endswith("0.tar"):
                    types = (b"0", b"x", b"L", b"5", b"S")
                    parts = [member(b"a.npy", b"", type=type, size=size)
                             for type in types for size in SIZES[-4:]]  # fmt: skip
                    for number, part in enumerate(parts):
                        made = Mutant(part + data, "")
                        found[f"{corpus}/{path} {number}"] = _parcel(corpus, path, 1, made)
                if path == "index.json":
                    for title, bomb in crafted.pickles().items():
                        made = Mutant(bomb, "")
                        found[f"{corpus}/{path} {title}"] = _parcel(corpus, path, 0, made)
        return found

    def mutant(self, seed: int) -> Mutant:
        rng = random.Random(seed)
        return self.damaged(rng.choice(sorted(self.corpora)), rng)

    def damaged(self, corpus: str, rng: random.Random) -> Mutant:
        """One of the corpora with one of its files damaged."""
        files = self.corpora[corpus]
        path = "index.json" if rng.random() < 0.3 else rng.choice(sorted(files))
        data, made = files[path], None
        if path.endswith(".tar") and rng.random() < 0.4:
            made = _among_members(data, rng)
        elif rng.random() < 0.6:
            made = _relabel(path, data, lambda text: _relabelled(text, rng))
        if made is None:
            made = mutate(data, rng, [data])
        sealed = int(rng.random() < 0.5)
        how = f"{corpus}/{path}: {made.how}{', sealed' * sealed}"
        return Mutant(_parcel(corpus, path, sealed, made), how)

    def place(self, data: bytes, folder: Path) -> None:
        """Write a damaged corpus into a folder, in place of what is there."""
        shutil.rmtree(folder, ignore_errors=True)
        head, _, content = data.partition(b"\n")
        corpus, path, sealed = head.decode().split(":")
        files = {**self.corpora[corpus], path: content}
        if sealed == "1":
            _seal_corpus(files, path)
        for name, each in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(each)

    def probe(self, data: bytes) -> str:
        top = self.work / "corpus"
        shutil.rmtree(top, ignore_errors=True)
        folder = top / "in" / "here"
        self.place(data, folder)
        before = _tree(self.work)
        errors: list[VqtokError] = []
        for use in (self._read, self._describe, self._decode):
            try:
                use(folder, top / "out" / "there", errors)
            except VqtokError as error:
                check_message(error)
                errors.append(error)
        inside = top / "out"
        after = _tree(self.work)
        if {p: s for p, s in after.items() if not p.is_relative_to(inside)} != before:
            raise Fault("written outside of the output")
        strays = [p for p in after if p.is_relative_to(inside) and "there" not in p.parts]
        if strays or sum(s for p, s in after.items() if p.is_relative_to(inside)) > self.LARGEST:
            raise Fault(f"written too much, or beside the output: {strays}")
        if errors:
            raise errors[0]
        return "decoded"

    def _read(self, folder: Path, out: Path, errors: list[VqtokError]) -> None:
        from vqtok.corpus.reader import CorpusReader

        reader = CorpusReader(folder)
        count = 0
        for entry in reader:
            entry.codes.check()
            if entry.name.startswith("/") or ".." in PurePosixPath(entry.name).parts:
                raise Fault(f"an item called {entry.name!r}")
            count += 1
        if count != len(reader):
            raise Fault(f"{count} items, {len(reader)} said")
        list(reader.failures())

    def _describe(self, folder: Path, out: Path, errors: list[VqtokError]) -> None:
        from vqtok.pipeline.corpus_facts import corpus_facts, corpus_picture

        facts = corpus_facts(folder)
        to_line(facts.to_json())
        for row in facts.rows():
            if not all(UNDECODED.sub("", text).isprintable() for text in row):
                raise Fault(f"control characters would be printed: {row}")
        picture = corpus_picture(folder)
        if picture.size > 50_000_000:
            raise Fault(f"a picture {picture.shape}")

    def _decode(self, folder: Path, out: Path, errors: list[VqtokError]) -> None:
        from vqtok.corpus.reader import CorpusReader
        from vqtok.pipeline import corpus_decode
        from vqtok.pipeline.decode import DecodeOptions
        from vqtok.pipeline.results import Failed

        reader = CorpusReader(folder)
        plan = corpus_decode.plan(reader, folder, out)
        errors += [error for _, error in plan.failures]
        for result in corpus_decode.decode_corpus(
            reader, plan, options=DecodeOptions(),
            coder_for=lambda h: self._models.load(self._models.info_for_header(h)),
        ):  # fmt: skip
            if isinstance(result, Failed):
                errors.append(result.error)
        for error in errors:
            check_message(error)

    @cached_property
    def _models(self) -> Any:
        from vqtok.pipeline.models import Models

        return Models()


def _parcel(corpus: str, path: str, sealed: int, made: Mutant) -> bytes:
    return f"{corpus}:{path}:{sealed}\n".encode() + made.data


Change = Callable[[str], tuple[str, str]]


def _relabel(path: str, data: bytes, change: Change) -> Mutant | None:
    """Change JSON where a file of a corpus holds some; None: it holds none that is looked for."""
    suffix = PurePosixPath(path).suffix
    if suffix == ".json":
        text, how = change(data.decode())
        return Mutant(_bytes(text), how)
    if suffix == ".jsonl":
        first, _, rest = data.partition(b"\n")
        text, how = change(first.decode())
        return Mutant(_bytes(text) + b"\n" + rest, how)
    if suffix == ".tar":
        return _relabel_tar(data, change)
    if suffix in (".parquet", ".arrow"):
        return _relabel_table(data, suffix, change)
    if suffix == ".npy":
        counts = np.load(io.BytesIO(data))
        stream = io.BytesIO()
        np.save(stream, -counts.astype(np.int64) - 1)
        return Mutant(stream.getvalue(), "counts below zero")
    return None


def _among_members(data: bytes, rng: random.Random) -> Mutant:
    """A member that lies between others, or damage behind right checksums of headers."""
    if rng.random() < 0.5:
        at = rng.choice([0, *(each.start() - 257 for each in re.finditer(b"ustar", data))])
        part, how = _special(rng)
        return Mutant(data[:at] + part + data[at:], f"{how} at {at}")
    made = mutate(data, rng, [data])
    return Mutant(seal_all(made.data), f"{made.how}, headers sealed")


def _relabel_tar(data: bytes, change: Change) -> Mutant:
    out, how = io.BytesIO(), ""
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as old,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for info in old:
            stream = old.extractfile(info)
            body = b"" if stream is None else stream.read()
            if info.name.endswith(".json") and not how:
                text, how = change(body.decode())
                body, how = _bytes(text), how or "changed"
            info.size = len(body)
            new.addfile(info, io.BytesIO(body))
    return Mutant(out.getvalue(), how)


def _relabel_table(data: bytes, suffix: str, change: Change) -> Mutant:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parquet = suffix == ".parquet"
    table = pq.read_table(io.BytesIO(data)) if parquet else pa.ipc.open_file(data).read_all()
    headers = table.column("header").to_pylist()
    text, how = change(headers[0])
    headers[0] = text.encode("utf-8", "replace").decode()
    field = table.schema.field("header")
    table = table.set_column(table.schema.get_field_index("header"), field, pa.array(headers))
    out = io.BytesIO()
    if parquet:
        pq.write_table(table, out)
    else:
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    return Mutant(out.getvalue(), how)


def _relabelled(text: str, rng: random.Random) -> tuple[str, str]:
    if '"name"' in text and rng.random() < 0.4:
        name = rng.choice(NAMES).decode("utf-8", "surrogateescape")
        return _named(text, name), f"named {name[:30]!r}"
    return mutate_json(text, rng)


def _named(text: str, name: str) -> str:
    data = json.loads(text)
    if "name" not in data:
        return text
    return json.dumps({**data, "name": name})


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _seal_corpus(files: dict[str, bytes], path: str) -> None:
    """Put the sizes and checksums of what was damaged where a reader compares them."""
    if path.endswith(".safetensors") and "items.jsonl" in files:
        lines = [json.loads(line) for line in files["items.jsonl"].splitlines()]
        for line in lines:
            if line["path"] == path:
                line |= {"bytes": len(files[path]), "sha256": _sha256(files[path])}
        files["items.jsonl"] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        path = "items.jsonl"
    if path == "index.json":
        return
    index = json.loads(files["index.json"])
    for extent in [*(e for shard in index["shards"] for e in shard["extents"]), *index["sides"]]:
        if extent["path"] == path:
            extent |= {"start": 0, "bytes": len(files[path]), "sha256": _sha256(files[path])}
    files["index.json"] = json.dumps(index).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tree(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("*") if not path.is_dir()}


def _check_name(name: str) -> None:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "" in parts or "\\" in name:
        raise Fault(f"a name that leads outside: {name!r}")
    if not name.isprintable():
        raise Fault(f"a name that cannot be printed: {name!r}")
