"""``.vqz``: one item's codes in few bytes, with the header of every codes file.

| bytes | what |
| --- | --- |
| 4 | ``MAGIC`` |
| 1 | version of the format |
| 4 | CRC-32 of all that follows |
| 1 | how codes were modelled: 0 all equally likely, 1 by counts, 2 by a context model |
| 8 | of 2: the fingerprint of the context model |
| 2 | stages on the "q" axis, 0: none |
| 2 | length of what follows |
| n | the header's JSON, deflated with a dictionary |
| | the symbols, ``rans`` |

Integers are little-endian. Codes are coded plane by plane: a level, or a stage of it, of a channel.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np

from vqtok.codes import header as headers
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.packed import MAGIC, order0, rans
from vqtok.codes.streams import MOST_HELD
from vqtok.errors import CodesError

VERSION = 1

_HEAD = struct.Struct("<4sBI")
_SHAPE = struct.Struct("<HH")
_LONGEST = 1 << 16
"""Bytes of a header's text; longer ones are none of ours."""
_PLAIN, _COUNTED, _CONTEXT = 0, 1, 2

_KNOWN = (
    b'{"channels":1,"extent":[240000],"fingerprint":"2613913a26d6d394","format":1,"levels":[{"axes'
    b'":["q","t"],"codebook_size":1024,"depth":8,"name":"codes","stride":[320]}],"modality":"audio'
    b'","model":"audio-24k","rate":24000.0,"source":{"format":"WAV","length":441000,"loudness_db":'
    b'[-23.0],"name":".flac","rate":44100},"vqtok":"0.2.0"}{"channels":1,"extent":[240000],"finger'
    b'print":"f2b9f7f1f57e624e","format":1,"levels":[{"axes":["t"],"codebook_size":512,"depth":nul'
    b'l,"name":"codes","stride":[640]}],"modality":"audio","model":"speech-speaker","rate":24000.0'
    b',"source":{"format":"FLAC","length":240000,"loudness_db":[-23.0],"name":".wav","rate":24000}'
    b',"vqtok":"0.2.0"}{"channels":1,"extent":[32,32],"fingerprint":"843753741160e6cd","format":1,'
    b'"levels":[{"axes":["h","w"],"codebook_size":512,"depth":null,"name":"codes","stride":[4,4]}]'
    b',"modality":"image","model":"cifar10-f4","rate":null,"source":{"format":"PNG","mode":"RGB","'
    b'name":".png"},"vqtok":"0.2.0"}{"channels":1,"extent":[256,256],"fingerprint":"aa3e6563a609e0'
    b'c3","format":1,"levels":[{"axes":["h","w"],"codebook_size":512,"depth":null,"name":"top","st'
    b'ride":[8,8]},{"axes":["h","w"],"codebook_size":512,"depth":null,"name":"bottom","stride":[4,'
    b'4]}],"modality":"image","model":"image-vqvae2","rate":null,"source":{"format":"PNG","mode":"'
    b'L","name":".png"},"vqtok":"0.2.0"}{"channels":1,"extent":[256,384],"fingerprint":"a9bb36ca73'
    b'db2146","format":1,"levels":[{"axes":["h","w"],"codebook_size":16384,"depth":null,"name":"co'
    b'des","stride":[16,16]}],"modality":"image","model":"image-f16","rate":null,"source":{"format'
    b'":"WEBP","mode":"RGB","name":".webp"},"vqtok":"0.2.0"}{"channels":1,"extent":[512,768],"fing'
    b'erprint":"8045ed0e476573a0","format":1,"levels":[{"axes":["h","w"],"codebook_size":8192,"dep'
    b'th":null,"name":"codes","stride":[8,8]}],"modality":"image","model":"image-f8","rate":null,"'
    b'source":{"format":"PNG","mode":"RGB","name":".png"},"vqtok":"0.2.0"}{"channels":1,"extent":['
    b'512,768],"fingerprint":"8045ed0e476573a0","format":1,"levels":[{"axes":["h","w"],"codebook_s'
    b'ize":8192,"depth":null,"name":"codes","stride":[8,8]}],"modality":"image","model":"image-f8"'
    b',"rate":null,"source":{"format":"JPEG","mode":"RGB","name":".jpg"},"vqtok":"0.2.0"}'
)
"""Headers of the shipped models, the likeliest last. A part of format 1: never changed."""


class Context(Protocol):
    """A model of the codes of one tokenizer; what makes frequencies of the codes before."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell this model from any other."""

    def symbols(self, codes: Codes) -> int:
        """Count the symbols that codes become.

        Raises:
            CodesError: codes of another tokenizer.
        """

    def code(self, coder: rans.Coder, codes: Codes) -> None:
        """Code numpy codes, int64, in place: a reader fills them."""


Contexts = Callable[[Header, str], Context]
"""Header and fingerprint → the context model; raises a ``CodesError`` where there is none."""


class Opened(NamedTuple):
    """What a file says before its codes."""

    header: Header
    method: int
    context: str
    """Fingerprint of the context model; "" without one."""
    depth: int
    data: bytes
    """The symbols."""


def dump(codes: Codes, header: str, context: Context | None) -> bytes:
    """Pack codes that were checked.

    Args:
        codes: numpy.
        header: Its text.
        context: None: whichever is shorter, by counts or as if all were equally likely.
    """
    if context is None:
        both = ((bytes([each]), _by_counts(codes, each)) for each in (_PLAIN, _COUNTED))
        method, data = min(both, key=lambda found: len(found[1]))
    else:
        writer = rans.Writer()
        context.code(writer, _wide(codes))
        method, data = bytes([_CONTEXT]) + bytes.fromhex(context.fingerprint), writer.finish()
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_KNOWN)
    text = squeezer.compress(header.encode()) + squeezer.flush()
    body = method + _SHAPE.pack(codes.depth or 0, len(text)) + text + data
    return _HEAD.pack(MAGIC, VERSION, zlib.crc32(body)) + body


def whole(stream: BinaryIO) -> bytes:
    """Read a file to its end.

    Raises:
        CodesError: it is longer than what is held in memory.
    """
    data = stream.read(MOST_HELD + 1)
    if len(data) > MOST_HELD:
        raise CodesError(f"more than {MOST_HELD} bytes of packed codes")
    return data


def opened(data: bytes) -> Opened:
    """Read all but the codes.

    Raises:
        CodesError: damaged, truncated, or of a newer version.
    """
    if len(data) < _HEAD.size:
        raise CodesError("truncated")
    magic, version, check = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise CodesError("not a packed codes file")
    if version > VERSION:
        raise CodesError(
            f"packed format {version} of a newer vqtok; this one reads up to {VERSION}",
            hint="pip install --upgrade vqtok",
        )
    body = data[_HEAD.size :]
    if version < VERSION or zlib.crc32(body) != check:
        raise CodesError("damaged or truncated: its checksum is another")
    method = body[0] if body else _CONTEXT + 1
    start = 9 if method == _CONTEXT else 1
    if method > _CONTEXT or len(body) < start + _SHAPE.size:
        raise CodesError("damaged: unknown method")
    depth, length = _SHAPE.unpack_from(body, start)
    text = body[start + _SHAPE.size :][:length]
    header = headers.decode(_inflated(text))
    rest = body[start + _SHAPE.size + length :]
    return Opened(header, method, body[1:start].hex(), depth, rest)


def load(data: bytes, contexts: Contexts | None) -> tuple[Codes, Header]:
    """Read what ``dump`` wrote.

    Args:
        data: The whole file.
        contexts: Finds context models; None: files that need one are refused.

    Raises:
        CodesError: damaged, or made with a context model that is not here.
    """
    found = opened(data)
    header, spec = found.header, found.header.spec
    if (spec.depth is None) != (found.depth == 0) or found.depth > (spec.depth or 0):
        raise CodesError(f"damaged: {found.depth} stages of {spec.depth or 0}")
    shapes = spec.shapes(header.extent, depth=found.depth or None)
    count = header.channels * sum(map(math.prod, shapes))
    if count > len(found.data) * rans.MOST_PER_BYTE:
        raise CodesError("damaged: more codes than its bytes can hold")
    levels = tuple(np.zeros((header.channels, *shape), dtype=np.int64) for shape in shapes)
    codes = Codes(spec, levels, header.extent)
    if found.method == _CONTEXT:
        if contexts is None:
            raise CodesError(
                f"packed with context model {found.context}, which is not at hand",
                hint="`vqtok unpack` makes .npy or .safetensors of it, which everything reads",
            )
        context = contexts(header, found.context)
        reader = rans.Reader(found.data, context.symbols(codes))
        context.code(reader, codes)
    else:
        planes, sizes = _planes(codes)
        reader = rans.Reader(found.data, order0.symbols(planes, sizes))
        order0.code(reader, planes, sizes, adaptive=found.method == _COUNTED)
    reader.finish()
    return codes.check().numpy(), header


def _by_counts(codes: Codes, method: int) -> bytes:
    writer = rans.Writer()
    order0.code(writer, *_planes(_wide(codes)), adaptive=method == _COUNTED)
    return writer.finish()


def _wide(codes: Codes) -> Codes:
    return replace(codes, levels=tuple(array.astype(np.int64) for array in codes.levels))


def _planes(codes: Codes) -> tuple[list[np.ndarray], list[int]]:
    """Returns views of the codes of each codebook, and its size."""
    planes, sizes = [], []
    for level, array in zip(codes.spec.levels, codes.levels, strict=True):
        stages = level.axes.index("q") + 1 if "q" in level.axes else None
        count = 1 if stages is None else array.shape[stages]
        for stage in range(count):
            planes.append(array if stages is None else array[(slice(None),) * stages + (stage,)])
            sizes.append(level.codebook_size)
    return planes, sizes


def _inflated(text: bytes) -> bytes:
    inflater = zlib.decompressobj(-15, zdict=_KNOWN)
    try:
        found = inflater.decompress(text, _LONGEST)
    except zlib.error as error:
        raise CodesError("damaged header: not deflated") from error
    if not inflater.eof or inflater.unused_data:
        raise CodesError("damaged header: too long, or cut off")
    return found
