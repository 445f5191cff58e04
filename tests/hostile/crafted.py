"""Files made by hand to do harm: bombs, lies about sizes, pickles in other files' clothes."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.codes.strategies import audio, hierarchy, image
from tests.hostile.pictures import png, png_of
from tests.hostile.pictures import seeds as picture_seeds
from tests.hostile.recordings import seeds as recording_seeds
from vqtok.codes import files

MEGA = 1 << 20
MARKER = "a-pickle-was-executed"


def deflated(megabytes: int) -> bytes:
    """A zlib stream of zeros; its checksum, at the very end, is not theirs."""
    packer = zlib.compressobj(9)
    head = packer.compress(bytes(MEGA)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MEGA)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (megabytes - 1) + packer.flush()


def pictures() -> dict[str, bytes]:
    """Name → picture."""
    bomb = deflated(2048)
    small = (b"\0" + bytes(8)) * 8
    header = (8, 8, 8, 0, 0)
    sound = picture_seeds()
    found = {
        "png of 2^31 - 1 pixels a side": png(((1 << 31) - 1, (1 << 31) - 1, 8, 2, 0), small),
        "png of 2^32 - 1 pixels a side": png(((1 << 32) - 1, (1 << 32) - 1, 16, 6, 1), small),
        "png whose sides multiply to 2^32": png((65536, 65536, 8, 6, 0), small),
        "png of no width": png((0, 8, 8, 0, 0), small),
        "png with 2 GB of rows too many": png_of(header, bomb),
        "png of 16000 a side, deflated": png_of((16000, 16000, 8, 2, 0), bomb),
        "png with a text bomb": png(header, small, (b"zTXt", b"a\0\0" + bomb)),
        "png with an international text bomb": png(
            header, small, (b"iTXt", b"a\0\1\0\0\0" + bomb)
        ),
        "png with a colour profile bomb": png(header, small, (b"iCCP", b"a\0\0" + bomb)),
        "png with many text bombs": png(
            header, small, *[(b"zTXt", b"k%d\0\0" % i + zlib.compress(bytes(MEGA - 9)))
                             for i in range(200)]
        ),
        "png with 200 000 empty chunks": png(header, small, *[(b"tEXt", b"a\0")] * 200_000),
        "png with a chunk of 2^31 - 1 bytes": png(header, small)[:33] + b"\x7f\xff\xff\xffIDAT",
        "png with a chunk of 2^32 - 1 bytes": png(header, small)[:33] + b"\xff\xff\xff\xffzTXt",
        "png palette without a palette": png((8, 8, 8, 3, 0), small),
        "png whose EXIF is noise": png(header, small, (b"eXIf", b"MM\0*" + b"\xff" * 64)),
    }  # fmt: skip
    for name, data in sound.items():
        if name.startswith("gif"):
            for side in (65535, 30000):
                size = struct.pack("<HH", side, side)
                found[f"{name}, canvas of {side}"] = data[:6] + size + data[10:]
        if name.startswith("bmp"):
            for width, height in ((2**31 - 1, 2**31 - 1), (-1, -1), (2**31 - 1, -(2**31)), (0, 0)):
                size = struct.pack("<ii", width, height)
                found[f"{name}, {width}x{height}"] = data[:18] + size + data[26:]
    found |= {
        "webp canvas of 2^24 a side": _webp_canvas(1 << 24, 1 << 24),
        "webp canvas of 16383 a side": _webp_canvas(16383, 16383),
        "webp canvas of 65536 a side": _webp_canvas(65536, 65535),
        "webp lossless of 16384 a side": _webp_lossless(16384),
        "webp chunk of 2^32 - 1 bytes": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + bytes(40),
        "jpeg of 65535 a side": _jpeg_of(65535),
        "jpeg of no height": _jpeg_of(0),
        "gif with endless comments": sound["gif"][:-1]
        + b"\x21\xfe"
        + (b"\xff" + bytes(255)) * 9999,
        "gif of 20 000 frames": _many_frames(20_000),
        "tiff of 2^31 - 1 a side": _tiff({256: 2**31 - 1, 257: 2**31 - 1}),
        "tiff of 2^32 - 1 a side": _tiff({256: 2**32 - 1, 257: 2**32 - 1}),
        "tiff of 65535 samples": _tiff({277: 65535}),
        "tiff of 2^32 - 1 rows a strip": _tiff({278: 2**32 - 1}),
        "tiff strip of 2^32 - 1 bytes": _tiff({279: 2**32 - 1}),
        "tiff strip at 2^32 - 1": _tiff({273: 2**32 - 1}),
        "tiff deflated bomb": _tiff({256: 900, 257: 900, 259: 8}, body=bomb),
        "tiff of 30000 a side, deflated": _tiff({256: 30000, 257: 30000, 259: 8}, body=bomb),
        "tiff that points at itself": b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(20),
        "tiff with a tag of 2^32 - 1 values": _tiff({}, counts={270: 2**32 - 1}),
        "tiff with 65535 tags": b"II*\0\x08\0\0\0\xff\xff" + struct.pack(
            "<HHII", 256, 3, 1, 8) * 65535 + bytes(4),
        "big tiff with 2^63 tags": b"II+\0\x08\0\0\0\x10" + bytes(7) + struct.pack("<Q", 1 << 63),
    }  # fmt: skip
    return found


def recordings() -> dict[str, bytes]:
    """Name → recording."""
    sound = recording_seeds()
    wav, flac = sound["wav PCM_U8"], sound["flac PCM_16"]
    found = {}
    for rate in (0, 1, 2, 100, 192_001, 10_000_019, 2**31 - 1, 2**31, 2**32 - 1):
        found[f"wav at {rate} Hz"] = _wav(wav[44:] * 200, rate=rate)
    for channels in (0, 1023, 1024, 1025, 65535):
        found[f"wav of {channels} channels"] = _wav(bytes(100_000), channels=channels)
    for bits in (0, 1, 7, 33, 64, 65535):
        found[f"wav of {bits} bits"] = _wav(bytes(1000), bits=bits)
    for size in (2**31 - 1, 2**31, 2**32 - 1, 2**32 - 8):
        found[f"wav that says {size} bytes"] = _wav(bytes(1000), size=size)
        found[f"wav with a chunk of {size} bytes"] = (
            b"RIFF\0\0\0\0WAVE" + b"junk" + struct.pack("<I", size) + bytes(50)
        )
    for size in (2**63 - 1, 2**63, 2**64 - 1):
        data = bytearray(sound["rf64 PCM_16"])
        at = data.index(b"ds64") + 8
        data[at : at + 24] = struct.pack("<QQQ", size, size, size)
        found[f"rf64 that says {size} bytes"] = bytes(data)
    stream = bytearray(flac)
    stream[8 + 13] |= 0x0F
    stream[8 + 14 : 8 + 18] = b"\xff" * 4
    found["flac of 2^36 - 1 samples"] = bytes(stream)
    for name, value in (("nan", np.nan), ("inf", np.inf), ("-inf", -np.inf), ("max", 3.4e38)):
        samples = np.zeros(100, np.float32)
        samples[50] = value
        found[f"wav with a sample {name}"] = _wav(samples.tobytes(), tag=3, bits=32)
        found[f"wav of {name} alone"] = _wav(np.full(9, value, "f4").tobytes(), tag=3, bits=32)
    doubles = np.full(20, 1e300)
    found["wav of doubles beyond float32"] = _wav(doubles.tobytes(), tag=3, bits=64)
    found["wav of 300 000 chunks"] = b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 300_000 + wav[12:]
    found["mp3 of 100 000 tags"] = b"ID3\x04\0\0\0\0\0\0" * 100_000 + sound["mp3 MPEG_LAYER_III"]
    found["mp3 with a tag of 256 MB"] = b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100)
    found["mp3 of frame headers alone"] = b"\xff\xfb\x90\x00" * 50_000
    found["ogg of page headers alone"] = (b"OggS" + bytes(22) + b"\xff" + b"\xff" * 255) * 500
    found["aiff of 2^32 - 1 frames"] = _aiff(2**32 - 1)
    found["aiff at a rate of infinity"] = _aiff(4, rate=b"\x7f\xff" + bytes(8))
    return found


def codes() -> dict[str, bytes]:
    """Name → codes file."""
    found = {}
    for name, item in (("image", image()), ("audio", audio()), ("levels", hierarchy())):
        whole = io.BytesIO()
        files.write(whole, *item, format="npy")
        plain = item[0].levels[0][0] if name == "image" else None
        head = item[1].to_json()
        for size in (1 << 24, 1 << 31, 1 << 32):
            lie = json.loads(json.dumps(head))
            lie["levels"][0]["codebook_size"] = size
            found[f"{name} with a codebook of {size}"] = _with_header(whole.getvalue(), lie)
        if plain is not None:
            found["image of 2^53 pixels a side"] = _with_header(
                whole.getvalue(), {**head, "extent": [1 << 53, 1 << 53]}
            )
    level = {"name": "codes", "axes": ["q", "t"], "codebook_size": 1 << 20, "stride": [320]}
    tall = {"format": 1, "modality": "audio", "rate": 24000.0, "extent": [1], "model": "m",
            "levels": [{**level, "depth": 65536}]}  # fmt: skip
    found["65536 stages of 2^20 entries"] = _npy(np.zeros((65536, 1), np.uint8), tall)
    latents = {"name": "codes", "axes": ["n"], "codebook_size": 4, "stride": [], "depth": 5}
    vast = {"format": 1, "modality": "image", "rate": None, "extent": [1 << 53, 1 << 53],
            "levels": [latents]}  # fmt: skip
    found["5 tokens for 2^106 pixels"] = _npy(np.zeros(5, np.uint8), vast)
    found["no columns"] = _npy(np.zeros((1, 0), np.uint8), {**tall, "extent": [0]})
    found["a header of 30 MB"] = _npy(np.zeros(5, np.uint8), {**vast, "noise": "x" * 30 * MEGA})
    found["a safetensors header of spaces"] = (
        struct.pack("<Q", 30 * MEGA) + b"{" + b" " * (30 * MEGA - 1)
    )
    for name, entry in {
        "overlapping tensors": {"shape": [4], "data_offsets": [0, 4]},
        "a shape of 2^62 squared": {"shape": [1 << 62, 1 << 62], "data_offsets": [0, 8]},
        "a shape whose product wraps": {"shape": [1 << 32, 1 << 32], "data_offsets": [0, 0]},
        "a lie about the type": {"dtype": "U64", "shape": [4], "data_offsets": [0, 4]},
        "offsets the wrong way round": {"shape": [4], "data_offsets": [8, 4]},
        "offsets of 2^63": {"shape": [4], "data_offsets": [1 << 63, (1 << 63) + 4]},
        "ten thousand axes": {"shape": [1] * 10_000, "data_offsets": [0, 1]},
    }.items():
        whole = {"dtype": "U8", **entry}
        table = json.dumps({"a": whole, "b": {**whole, "dtype": "U8"}}).encode()
        found[name] = struct.pack("<Q", len(table)) + table + bytes(8)
    for text in ("(1, " * 3000, "-" * 9000 + "1", "9" * 9000, "{'descr': '|O'}", "[" * 9000):
        head = text.encode()
        found[f"npy header {text[:12]}"] = (
            b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(64)
        )
    return found | pickles()


def lying_codes(sound: Mapping[str, bytes]) -> dict[str, bytes]:
    """Codes files with the fingerprint of a model and other facts than its own."""
    found = {}
    for kind, level_edits, edits in (
        ("image", {"codebook_size": 1 << 16}, {}),
        ("image", {"stride": [1 << 40, 1 << 40]}, {"extent": [3 << 40, 3 << 40]}),
        ("image", {"stride": [8, 9]}, {}),
        ("image", {"axes": ["w", "h"]}, {}),
        ("image", {"name": "other"}, {}),
        ("image", {"axes": ["n"], "stride": [], "depth": 9}, {"extent": [1 << 50, 1 << 50]}),
        ("image", {}, {"modality": "audio"}),
        ("audio", {"codebook_size": 1 << 16}, {}),
        ("audio", {"stride": [1 << 40]}, {"extent": [9 << 40], "source": {}}),
        ("audio", {"depth": 65536}, {}),
        ("audio", {}, {"rate": 1.0}),
        ("audio", {}, {"rate": 2.0**53}),
        ("audio", {}, {"source": {"rate": 1 << 53}}),
        ("audio", {}, {"source": {"length": 1 << 53}}),
        ("audio", {}, {"source": {"rate": 8000, "length": 1 << 53}}),
        ("audio", {}, {"source": {"rate": 8000 * 255, "length": 700 * 255}}),
        ("audio", {}, {"source": {"rate": 8000 * 4096, "length": 700 * 4096}}),
        ("audio", {}, {"source": {"rate": 1, "length": 1}}),
        ("audio", {}, {"channels": 1 << 53}),
    ):
        array, head = _records(sound[f"{kind} npy"])
        levels = [{**head["levels"][0], **level_edits}]
        lie = {**head, "levels": levels, **edits}
        found[f"{kind} {level_edits} {edits}"] = _npy(array, lie)
        if "codebook_size" in level_edits:
            high = np.full_like(array, 60_000, dtype=np.uint16)
            found[f"{kind} {level_edits}, codes of 60 000"] = _npy(high, lie)
    return found


class _Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (MARKER,)


def pickles() -> dict[str, bytes]:
    """Files that leave ``MARKER`` in the current directory if anybody unpickles them."""
    bomb = pickle.dumps(_Bomb())
    objects = np.empty(1, dtype=object)
    objects[0] = _Bomb()
    saved, zipped = io.BytesIO(), io.BytesIO()
    np.save(saved, objects, allow_pickle=True)
    np.savez(zipped, codes=objects)
    record = np.array([(1, 2)], dtype=[("a", "u1"), ("b", "O")])
    structured = io.BytesIO()
    np.save(structured, record, allow_pickle=True)
    return {
        "a pickle": bomb,
        "a pickle as objects in npy": saved.getvalue(),
        "a pickle in npz": zipped.getvalue(),
        "a pickle in a structured npy": structured.getvalue()[:128] + bomb,
        "a pickle behind a safetensors length": struct.pack("<Q", len(bomb)) + bomb,
        "a pickle as a safetensors header": struct.pack("<Q", len(bomb) + 1) + b"{" + bomb,
        "a pickle as an npy header": b"\x93NUMPY\1\0" + struct.pack("<H", len(bomb)) + bomb,
    }


def model_files(shelf: Path) -> dict[str, bytes]:
    """Name → "KIND/FILE", a newline, and the file's bytes: one file of a model directory."""
    found = {}
    for kind, name in (("image", "image-f8"), ("audio", "audio-24k")):
        config = json.loads((shelf / name / "config.json").read_text())
        edits: list[dict[str, Any]] = [{"latent": 1 << 30}, {"latent": 4, "kernel": 99_999_999}]
        if kind == "image":
            edits += [{"widths": [60_000, 60_000]}, {"encoder_blocks": [1, 10**9]},
                      {"patch": 50_000}, {"channels": 2**31 - 1}]  # fmt: skip
        else:
            edits += [{"width": 100_000}, {"frame": 1 << 34, "hop": 1 << 33}, {"hop": 1},
                      {"frame": 1 << 28, "hop": 1 << 27}, {"decoder_blocks": 10**9},
                      {"rate": 1}, {"rate": 2**62}]  # fmt: skip
        for edit in edits:
            lie = {**config, "model": {**config["model"], **edit}}
            found[f"{kind} {edit}"] = f"{kind}/config.json\n{json.dumps(lie)}".encode()
        for edit in (
            {"codebook_size": 1 << 30},
            {"samples": 1 << 40},
            {"codebook_dim": 1 << 28},
            {"type": "quantizers/fsq"},
        ):
            quantizer = {**config["model"]["quantizer"], **edit}
            lie = {**config, "model": {**config["model"], "quantizer": quantizer}}
            found[f"{kind} quantizer {edit}"] = f"{kind}/config.json\n{json.dumps(lie)}".encode()
        for title, bomb in pickles().items():
            for file in ("config.json", "model.safetensors"):
                found[f"{kind} {file}: {title}"] = f"{kind}/{file}\n".encode() + bomb
    return found


def _records(data: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    stream = io.BytesIO(data)
    return np.load(stream), json.loads(np.load(stream).tobytes())


def _with_header(data: bytes, header: dict[str, Any]) -> bytes:
    return _npy(_records(data)[0], header)


def _npy(array: np.ndarray, header: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    np.save(stream, np.frombuffer(json.dumps(header).encode(), np.uint8))
    return stream.getvalue()


def _webp_canvas(width: int, height: int) -> bytes:
    sound = picture_seeds()["webp animated"]
    at = sound.index(b"VP8X") + 12
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return sound[:at] + size + sound[at + 6 :]


def _webp_lossless(side: int) -> bytes:
    sound = bytearray(picture_seeds()["webp lossless alpha"])
    at = sound.index(b"VP8L") + 9
    bits = (side - 1) | (side - 1) << 14 | 1 << 28
    sound[at : at + 4] = struct.pack("<I", bits)
    return bytes(sound)


def _jpeg_of(side: int) -> bytes:
    sound = bytearray(picture_seeds()["jpeg progressive"])
    at = sound.index(b"\xff\xc2") + 5
    sound[at : at + 4] = struct.pack(">HH", side, side)
    return bytes(sound)


def _many_frames(count: int) -> bytes:
    sound = picture_seeds()["gif"]
    start = sound.index(b"\x2c", 13 + 3 * 2 ** ((sound[10] & 7) + 1))
    return sound[:start] + sound[start:-1] * count + b";"


def _tiff(
    tags: dict[int, int], *, body: bytes = bytes(64), counts: dict[int, int] | None = None
) -> bytes:
    """A little-endian TIFF of one strip, 8x8 grey unless tags say otherwise."""
    basic = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 8, 279: len(body)}
    entries = {**basic, **tags}
    number = len(entries) + len(counts or {})
    offset = 8 + 2 + 12 * number + 4
    entries[273] = tags.get(273, offset)
    rows = [(tag, struct.pack("<HHII", tag, 4, 1, value)) for tag, value in entries.items()]
    rows += [(tag, struct.pack("<HHII", tag, 2, n, 8)) for tag, n in (counts or {}).items()]
    table = b"".join(row for _, row in sorted(rows))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", number) + table + bytes(4) + body


def _wav(
    samples: bytes, *, rate: int = 8000, channels: int = 1, bits: int = 8, tag: int = 1,
    size: int | None = None,
) -> bytes:  # fmt: skip
    unit = (channels * -(-bits // 8)) % 65536
    head = struct.pack("<HHIIHH", tag, channels, rate, rate * unit % 2**32, unit, bits)
    data = b"fmt \x10\0\0\0" + head + b"data"
    data += struct.pack("<I", len(samples) if size is None else size) + samples
    return b"RIFF" + struct.pack("<I", len(data) + 4) + b"WAVE" + data


def _aiff(frames: int, rate: bytes = b"\x40\x0b\xfa" + bytes(7)) -> bytes:
    common = struct.pack(">HIH", 1, frames, 16) + rate
    body = b"COMM" + struct.pack(">I", len(common)) + common + b"SSND" + struct.pack(">I", 16)
    return b"FORM" + struct.pack(">I", len(body) + 20) + b"AIFF" + body + bytes(16)
