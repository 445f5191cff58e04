"""Weights are found wherever training programs and wrappers put them, by one mechanism."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.checkpoints.foreign.test_rosinality import made
from tests.examples import examples
from vqtok.checkpoints import directory, foreign
from vqtok.checkpoints.foreign import Match, _reading
from vqtok.checkpoints.weight_files import is_foreign

STATE = made()
KEYS = ("state_dict", "model_state_dict", "model", "params", "params_ema", "ema_model", "ema",
        "net_g", "generator", "vqvae", "module", "_orig_mod", "_fsdp_wrapped_module",
        "first_stage_model", "network", "my_tokenizer")  # fmt: skip
INSIDE = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
BESIDE = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "groups": [1, 2]},
          "n_averaged": torch.tensor(7)}  # fmt: skip


def saved(path: Path, held: Any, *, legacy: bool = False) -> Path:
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    return path


def read(path: Path) -> Match:
    """What the file is taken for, which must be all of these weights."""
    match = foreign.recognise(path)
    assert match.family == "VQ-VAE-2 (rosinality)"
    return match


def same(match: Match, state: dict[str, Tensor] = STATE) -> None:
    found = match.weights()
    assert torch.equal(found["enc_b.blocks.0.weight"], state["enc_b.blocks.0.weight"])
    assert torch.equal(found["quantize_t.embedding.weight"], state["quantize_t.embed"].T)
    learning = ("cluster_size", "embed_avg")
    assert len(found) == sum(not name.endswith(learning) for name in state)


WAYS = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=4)
WRAPPED = st.lists(st.sampled_from(INSIDE), max_size=2)


@examples(20, many=40, suppress_health_check=list(HealthCheck))
@given(way=WAYS, inside=WRAPPED, beside=st.booleans(), legacy=st.booleans())
def test_weights_are_found_under_any_keys_and_prefixes(
    tmp_path: Path, way: list[tuple[str, bool]], inside: list[str], beside: bool, legacy: bool
):
    part = "".join(f"{each}." for each in inside)
    held: Any = {name.replace(".blocks.", f".{part}blocks."): t for name, t in STATE.items()}
    for key, as_prefix in reversed(way):
        if as_prefix:
            held = {f"{key}.{name}": value for name, value in held.items()}
        else:
            held = {key: held}
        if beside and not as_prefix:
            held = {**BESIDE, **held}
    same(read(saved(tmp_path / "x.pt", held, legacy=legacy)))


OTHER = {name: tensor + 1 for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    ("raw", "average"),
    [("model", "ema"), ("params", "params_ema"), ("state_dict", "state_dict_ema"),
     ("net_g", "net_g_ema"), ("online_model", "ema_model"), ("model", "model_ema"),
     ("model", "swa_model"), ("net", "averaged")],
)  # fmt: skip
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_averages_go_before_weights_and_that_is_told(
    tmp_path: Path, raw: str, average: str, dotted: bool, first: bool
):
    pairs: Any = [(raw, OTHER), (average, STATE)]
    held: Any = dict(reversed(pairs) if first else pairs)
    if dotted:
        held = {f"{key}.{name}": t for key, state in held.items() for name, t in state.items()}
    match = read(saved(tmp_path / "x.pt", held))
    same(match)
    assert match.notes == (f"weights of {average}; those of {raw} are there too",)


def test_averages_among_the_weights_go_before_them(tmp_path: Path):
    held = {**OTHER, **{f"ema.{name}": tensor for name, tensor in STATE.items()}}
    match = read(saved(tmp_path / "x.pt", held))
    same(match)
    assert match.notes == ("weights of ema; those of the whole file are there too",)


def test_of_equal_places_the_known_key_goes_first(tmp_path: Path):
    match = read(saved(tmp_path / "x.pt", {"teacher": OTHER, "model": STATE}))
    same(match)
    assert match.notes == ("weights of model; those of teacher are there too",)


class Wrapped(nn.Module):
    """A network that keeps the weights as modules do, with a buffer that is not stored."""

    def __init__(self) -> None:
        super().__init__()
        for name, tensor in STATE.items():
            at: nn.Module = self
            *way, last = name.split(".")
            for each in way:
                if not hasattr(at, each):
                    at.add_module(each, nn.Module())
                at = getattr(at, each)
            at.register_buffer(last, tensor)
        self.register_buffer("scratch", torch.zeros(3), persistent=False)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_module_is_found_beside_other_things(tmp_path: Path, legacy: bool):
    averaged = torch.optim.swa_utils.AveragedModel(Wrapped())
    same(read(saved(tmp_path / "x.pt", {"epoch": 1, "model": averaged}, legacy=legacy)))
    same(read(saved(tmp_path / "y.pt", averaged.state_dict(), legacy=legacy)))


def test_a_name_that_holds_itself_is_read_past(tmp_path: Path):
    held: Any = {"model": STATE}
    held["self"] = [held, {"again": held}]
    same(read(saved(tmp_path / "x.pt", held)))


def test_tensors_that_wrappers_names_alone_tell_apart_are_all_kept(tmp_path: Path):
    held = {"a.b": torch.zeros(1), "a.module.b": torch.ones(1)}
    assert set(_reading.read(saved(tmp_path / "x.pt", held)).tensors) == set(held)


@pytest.mark.parametrize("name", ["model_best.pth.tar", "weights", "3f2a" * 10, "last.7"])
@pytest.mark.parametrize("legacy", [False, True])
def test_files_are_known_by_content(tmp_path: Path, name: str, legacy: bool):
    path = saved(tmp_path / name, {"state_dict": STATE}, legacy=legacy)
    assert is_foreign(path)
    assert directory.describe(path).foreign == "VQ-VAE-2 (rosinality)"
    assert is_foreign(tmp_path)


@pytest.mark.parametrize("name", ["best.model", "x.weights", "x.gz", "x.png"])
def test_a_file_that_is_named_is_known_by_content_under_any_suffix(tmp_path: Path, name: str):
    path = saved(tmp_path / name, {"state_dict": STATE})
    assert directory.describe(path).foreign == "VQ-VAE-2 (rosinality)"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(40), b"\x80\x04N.", b"x" * 8 + b"{}"])
def test_other_files_without_a_suffix_are_none(tmp_path: Path, data: bytes):
    (tmp_path / "notes").write_bytes(data)
    assert not is_foreign(tmp_path / "notes")
    assert not is_foreign(tmp_path)
