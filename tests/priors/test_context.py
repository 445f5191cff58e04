"""Context models: what they are given, what they cost, and the integers that they become."""

from __future__ import annotations

import io
import random
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.examples import MANY
from tests.priors.conftest import IMAGE, PAIR, SNAC, STACK, TOKENS, some_codes
from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.packed import MAGIC, interlaced, rans, vqz
from vqtok.codes.packed import context as integers
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CheckpointError, CodesError, ConfigError
from vqtok.priors import context

SPECS = pytest.mark.parametrize("spec", [IMAGE, PAIR, STACK, SNAC])
SMALL = context.Config(width=24, blocks=1, embedding=6, query=5, near=9, across=1)


def made(spec: CodeSpec, *, seed: int = 0) -> context.Context:
    """With weights large enough to tell its inputs apart."""
    torch.manual_seed(seed)
    prior = SMALL.build(spec=spec)
    for each in prior.parameters():
        each.data += torch.randn_like(each) * 0.15
    return prior.eval()


def plain(codes: Codes) -> Codes:
    levels = tuple(np.asarray(array, np.int64).copy() for array in codes.levels)
    return replace(codes, levels=levels)


@SPECS
def test_passes_meet_every_code_once_and_are_given_earlier_ones_alone(spec: CodeSpec):
    streams = interlaced.streams_of(spec)
    passes = interlaced.passes_of(streams, near=24, across=1)
    codes = some_codes(made(spec), 1)
    grids = interlaced.Grids.of(streams, codes.shapes)
    done = np.zeros(codes.tokens + 1, bool)
    done[-1] = True  # what is outside
    for each in passes:
        positions = grids.positions(each)
        given = grids.given(each, positions)
        assert done[given].all()
        cells = grids.cells(each, positions)
        assert not done[cells].any()
        done[cells] = True
    assert done.all()


def test_the_last_pass_is_half_of_a_grid_with_neighbours_on_all_sides():
    level = LevelSpec("codes", ("h", "w"), 64, (8, 8))
    streams = interlaced.streams_of(CodeSpec("image", (level,)))
    passes = interlaced.passes_of(streams, near=24, across=1)
    assert len(passes) == 7
    sides = {(0, down, right) for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0))}
    assert set(passes[-1].context[:4]) == sides
    grids = interlaced.Grids.of(streams, [(64, 96)])
    assert len(grids.positions(passes[-1])) == 64 * 96 // 2


@SPECS
def test_integers_cost_what_the_network_costs(spec: CodeSpec):
    prior = made(spec)
    codes = some_codes(prior, 3)
    with torch.no_grad():
        nats = sum(float(each.sum()) for each in prior.nll(codes))
    counter = rans.Counter()
    prior.packed().code(counter, plain(codes))
    # Weights of 8 bits, logits in steps of 1/64, 1/256 of all for what is unlikely.
    assert counter.bits == pytest.approx(nats / np.log(2), rel=0.03)


@SPECS
def test_packed_codes_come_back_and_are_as_long_as_their_model_says(spec: CodeSpec, tmp_path: Path):
    prior = made(spec)
    model = prior.packed()
    codes = some_codes(prior, 1)
    codes = replace(plain(codes), spec=model.spec)
    header = Header(model.spec, codes.extent, channels=1)
    path = tmp_path / "a.vqz"
    files.write(path, codes, header, context=model)
    found, _ = files.read(path, contexts=lambda header, fingerprint: model)
    for a, b in zip(found.levels, codes.levels, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(CodesError, match="not at hand"):
        files.read(path)


def test_items_of_a_batch_cost_what_each_costs_alone():
    prior = made(STACK)
    model, codes = prior.packed(), some_codes(prior, 3)
    codes = replace(plain(codes), spec=model.spec)
    together = rans.Counter()
    model.code(together, codes)
    alone = rans.Counter()
    for each in codes.split():
        model.code(alone, each)
    assert together.bits == pytest.approx(alone.bits, rel=1e-12)


def test_sums_are_exact_in_whatever_order_and_chunks(monkeypatch: pytest.MonkeyPatch):
    prior = made(IMAGE)
    model, codes = prior.packed(), plain(some_codes(prior, 1))
    codes = replace(codes, spec=model.spec)

    def coded() -> bytes:
        writer = rans.Writer()
        prior.packed().code(writer, codes)
        return writer.finish()

    expected = coded()
    multiply = np.matmul
    plain_layer = integers.ContextModel._layer

    def backwards(self, name, x, bits, wanted):
        plain_layer(self, name, x[:1], bits, wanted)
        weight, bias = self._layers[name]
        order = np.random.default_rng(0).permutation(x.shape[1])
        sums = multiply(x[:, order].astype(np.float64), weight[order].astype(np.float64)) + bias
        return np.floor(sums * 2.0 ** (wanted - bits - self.bits[name])).astype(np.float32)

    monkeypatch.setattr(integers.ContextModel, "_layer", backwards)
    assert coded() == expected


def test_a_file_of_a_context_model_comes_back_and_damage_is_told(tmp_path: Path):
    model = made(PAIR).packed()
    path = tmp_path / integers.FILE
    model.write(path)
    assert integers.read(path).fingerprint == model.fingerprint
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        data = bytearray(whole)
        data[rng.integers(len(data) // 20)] ^= 1 << rng.integers(8)
        path.write_bytes(data[: rng.integers(1, len(data))])
        with pytest.raises(CheckpointError):
            integers.read(path)


@pytest.mark.parametrize("spec", [TOKENS])
def test_codes_without_a_grid_are_refused(spec: CodeSpec):
    with pytest.raises(ConfigError, match="axes"):
        SMALL.build(spec=spec)


def test_entries_that_are_alike_share_a_cell():
    level = LevelSpec("codes", ("h", "w"), 64, (8, 8))
    spec = CodeSpec("image", (level,))
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 4)) * 10
    entries = np.repeat(centres, 8, axis=0) + rng.normal(size=(64, 4)) * 0.01
    order = rng.permutation(64)
    prior = SMALL.build(spec=spec, entries=[entries[order]])
    rank = prior.packed().tensors["rank0"][np.argsort(order)]
    cells = rank.reshape(8, 8) // 8
    assert (cells == cells[:, :1]).all()
    assert len(set(cells[:, 0])) == 8


@SPECS
def test_mutations_of_what_a_context_model_packed_are_refused_in_one_line_each(spec: CodeSpec):
    prior = made(spec)
    model = prior.packed()
    codes = replace(plain(some_codes(prior, 1)), spec=model.spec)
    header = Header(model.spec, codes.extent, channels=1)
    stream = io.BytesIO()
    files.write(stream, codes, header, format="vqz", context=model)
    whole = stream.getvalue()

    def finder(header: Header, fingerprint: str) -> integers.ContextModel:
        if fingerprint != model.fingerprint:
            raise CodesError(f"packed with another context model ({fingerprint})")
        return model

    assert files.read(io.BytesIO(whole), contexts=finder)[1] == header
    chance = random.Random(0)
    tracemalloc.start()
    for _ in range(500 if MANY else 15):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            kind, at = chance.randrange(3), chance.randrange(len(data))
            if kind == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                del data[at : at + chance.randint(1, 9)]
            else:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
        if bytes(data) == whole:
            continue
        with pytest.raises(CodesError) as caught:
            files.read(io.BytesIO(bytes(data)), contexts=finder)
        assert "\n" not in str(caught.value)
        # With a checksum that fits, what is inside is refused or read, and never more than fits.
        body = bytes(data[9:])
        signed = MAGIC + bytes([vqz.VERSION]) + zlib.crc32(body).to_bytes(4, "little") + body
        try:
            found, _ = files.read(io.BytesIO(signed), contexts=finder)
        except CodesError as error:
            assert "\n" not in str(error)
        else:
            found.check()
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
