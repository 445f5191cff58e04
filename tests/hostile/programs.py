"""Checkpoints as programs: pickles of a few bytes that would keep or fill a machine, or run things.

Each is refused in one line, in all three forms of files; so is, or is read, what chance makes of
sound ones: instructions left out, doubled, exchanged or put in.
"""

from __future__ import annotations

import io
import itertools
import pickle
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from tests.examples import MANY
from tests.hostile.mutations import Mutant, mutate
from tests.hostile.room import Room

PROTO, STOP = b"\x80\x02", b"."
KEY = b"X\x01\x00\x00\x00a"
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)


def archive(pickled: bytes, *, storages: dict[str, bytes] | None = None,
            scripted: bool = False) -> bytes:  # fmt: skip
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("a/data.pkl", pickled)
        made.writestr("a/byteorder", "little")
        if scripted:
            made.writestr("a/constants.pkl", b"\x80\x02).")
        for name, data in (storages or {}).items():
            made.writestr(f"a/data/{name}", data)
    return stream.getvalue()


def legacy(pickled: bytes) -> bytes:
    return MAGIC + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + pickled + pickle.dumps([], 2)


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "zip": archive,
    "scripted": lambda pickled: archive(pickled, scripted=True),
    "legacy": legacy,
}


def as_key(made: bytes) -> bytes:
    """A mapping with this as a key."""
    return PROTO + b"}" + made + b"Ns" + STOP


def doubling(times: int) -> bytes:
    """A tuple of two of a tuple of two of …, which takes 2^times steps to hash."""
    return b")" + b"2\x86" * times


def memoised(times: int) -> bytes:
    return b")q\x00" + b"".join(b"h%c0h%ch%c\x86q%c" % (n, n, n, n + 1) for n in range(times))


def colliding(count: int) -> bytes:
    step = (1 << 61) - 1
    numbers = (pickle.encode_long(step * (each + 1) * 8) for each in range(count))
    items = b"".join(b"\x8a" + bytes((len(each),)) + each + b"N" for each in numbers)
    return PROTO + b"}(" + items + b"u."


def pairs(count: int) -> bytes:
    """One list of many pairs, made a mapping of many times."""
    one = b"](" + b"K\x01N\x86" * count + b"e"
    calls = b"h\x00h\x01\x85R0" * count
    head = b"ccollections\nOrderedDict\nq\x000" + one + b"q\x010"
    return PROTO + head + calls + b"}."


DEEP = 200_000 if MANY else 100_000
BOMBS = {
    "a key of nested tuples": as_key(doubling(60)),
    "a key of nested tuples by the memo": as_key(memoised(60)),
    "a key of frozen sets": as_key(b"(" + b"(" * 60 + b"\x91" * 61),
    "a call as a key": as_key(b"ccollections\nOrderedDict\n)R"),
    "items of a set": PROTO + b"cbuiltins\nset\n](" + doubling(60) + b"e\x85R}" + KEY + b"Ns.",
    "items of a new set": PROTO + b"\x8f(" + doubling(60) + b"\x90}" + KEY + b"Ns.",
    "arguments of a call": PROTO + b"ccollections\nCounter\n" + doubling(60) + b"\x85R.",
    "keys of a mapping of others": PROTO + b"ccollections\nCounter\n)R" + doubling(60) + b"Ns.",
    "a state that nests itself": PROTO + b"c__main__\nA\n)\x81" + doubling(60) + b"b.",
    "mapping of mappings": PROTO + b"}" + (b"q\x00}" + KEY + b"h\x00sX\x01\x00\x00\x00bh\x00s") * 60
    + b".",
    "lists of lists": PROTO + b"}" + KEY + b"]" + b"q\x00](" + b"h\x00" * 99 + b"e" * 1
    + (b"q\x00](" + b"h\x00" * 99 + b"e") * 40 + b"s.",
    "tuples in tuples": PROTO + b"}" + KEY + b")" + b"\x85" * DEEP + b"s.",
    "lists in lists": PROTO + b"}" + KEY + b"](" * DEEP + b"e" * DEEP + b"s.",
    "mappings in mappings": PROTO + b"}" + (KEY + b"}") * DEEP + b"s" * DEEP + b".",
    "objects in objects": PROTO + b"c__main__\nA\nq\0" + b"h\0)\x81" * DEEP + b"b" * DEEP + b".",
    "calls of calls": PROTO + b"c__main__\nA\n" + b")R" * DEEP + b".",
    "marks": PROTO + b"(" * (1 << 21) + b".",
    "a name without an end": PROTO + b"c" + b"x" * (1 << 20),
    "keys with a million dots": PROTO + b"}X\0\0\x10\0" + b"." * (1 << 20) + b"]s.",
    "colliding numbers": colliding(50_000),
    "colliding numbers of a few bytes more": as_key(b"\x8b\xc8\0\0\0" + b"\x7f" * 200),
    "one list made a mapping of many times": pairs(40_000),
    "instructions without an end": PROTO + b"N0" * (1 << 20) + b"}.",
    "a string of 2^63 bytes": PROTO + b"\x8d" + struct.pack("<Q", 1 << 63) + b".",
    "a number of 2^31 bytes": PROTO + b"\x8b" + struct.pack("<I", (1 << 31) - 1) + b".",
    "a memo at 2^32": PROTO + b"}r\xff\xff\xff\xff.",
    "a memo below zero": PROTO + b"}p-5\n.",
    "a number of 100 000 digits": PROTO + b"I" + b"9" * 100_000 + b"\n.",
    "nothing to stop": PROTO + b"}",
    "nothing to take": PROTO + b"0" * 5 + b".",
    "a call of a number": PROTO + b"K\x01)R.",
    "an extension": PROTO + b"\x82\x01.",
}  # fmt: skip


class Call:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


@cache
def sound() -> dict[str, bytes]:
    """Form → checkpoint of a known family, with all kinds of things beside its weights."""
    from tests.checkpoints.foreign.test_rosinality import made

    beside = {"epoch": 3, "lr": [0.1] * 5, "names": ("a", {"b": None}), "rng": random.getstate(),
              "odd": {1, 2}, "call": Call(complex, 1.0, 2.0), "big": 1 << 80}  # fmt: skip
    found = {}
    for form, zipped in (("zip", True), ("legacy", False)):
        stream = io.BytesIO()
        held = {**beside, "state_dict": {f"module.{k}": v for k, v in made().items()}}
        torch.save(held, stream, _use_new_zipfile_serialization=zipped)
        found[form] = stream.getvalue()
    return found


INSTRUCTIONS = [bytes((code,)) for code in b"N02(t}sRb]aue).\x81\x85"]


def edited(pickled: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A pickle with some instructions left out, doubled, exchanged or put in."""
    places = [place or 0 for _, _, place in pickletools.genops(pickled)] + [len(pickled)]
    parts = [pickled[a:b] for a, b in itertools.pairwise(places)]
    done = []
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(1, len(parts))
        change = rng.choice(("drop", "double", "swap", "insert", "bomb"))
        if change == "drop":
            del parts[at]
        elif change == "double":
            parts.insert(at, parts[at])
        elif change == "swap":
            other = rng.randrange(1, len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif change == "insert":
            parts.insert(at, rng.choice(INSTRUCTIONS))
        else:
            name = rng.choice(sorted(BOMBS))
            parts.insert(at, BOMBS[name][2:-1] + b"0")
            change = name
        done.append(f"{change} at {at}")
    return b"".join(parts), ", ".join(done) or "nothing"


class CheckpointRoom(Room):
    """Checkpoints of other programs: their pickles and the files around them."""

    def _by_hand(self) -> dict[str, bytes]:
        return {f"{name}, {form}": make(bomb) for name, bomb in BOMBS.items()
                for form, make in FORMS.items()}  # fmt: skip

    def mutant(self, seed: int) -> Mutant:
        rng = random.Random(seed)
        form = rng.choice(sorted(sound()))
        data = sound()[form]
        if form == "legacy" or rng.random() < 0.3:
            made = mutate(data, rng, [data])
            return Mutant(made.data, f"{form}: {made.how}")
        with zipfile.ZipFile(io.BytesIO(data)) as whole:
            parts = {each: whole.read(each) for each in whole.namelist()}
        stream, how = io.BytesIO(), ""
        with zipfile.ZipFile(stream, "w") as changed:
            for name, content in parts.items():
                if name.endswith("data.pkl"):
                    content, how = edited(content, rng)
                changed.writestr(name, content)
        return Mutant(stream.getvalue(), f"{form}: {how}")

    def probe(self, data: bytes) -> str:
        from vqtok.checkpoints import foreign

        path = self.work / "x.ckpt"
        path.unlink(missing_ok=True)  # numbers of the last one may still be mapped
        path.write_bytes(data)
        foreign.recognise(path).weights()
        return "read"
