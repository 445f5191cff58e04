"""Configs: there and back, and an exact place for every mistake."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok import config
from vqtok.errors import ConfigError
from vqtok.protocols import Config


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2.0)
    mode: Literal["fast", "slow"] = "fast"


@dataclass(frozen=True)
class Outer:
    steps: int
    rate: float = 0.5
    name: str | None = None
    flag: bool = False
    inner: Inner = field(default_factory=Inner)
    either: int | str = 1
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError("steps must not be negative")


numbers = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(
    Inner,
    sizes=st.lists(st.integers()).map(tuple),
    pair=st.tuples(st.integers(), numbers),
    mode=st.sampled_from(("fast", "slow")),
)
outers = st.builds(
    Outer,
    steps=st.integers(0),
    rate=numbers,
    name=st.none() | st.text(),
    flag=st.booleans(),
    inner=inners,
    either=st.integers() | st.text(),
    weights=st.dictionaries(st.text(), numbers),
)


@given(outers)
def test_any_config_survives_json(outer: Outer):
    assert config.parse(json.loads(config.to_json(config.dump(outer))), Outer) == outer


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("steps"), inner),
    )
)
def test_any_json_is_a_config_or_a_config_error(data: object):
    try:
        config.parse(data, Outer)
    except ConfigError as error:
        assert str(error).startswith("config")


MISTAKES = [
    ({"steps": 1, "rat": 1}, "config.rat: unknown key", "did you mean rate?"),
    ({"steps": 1, "zzz": 1}, "config.zzz: unknown key", "known: either, flag, inner"),
    ({}, "config.steps: the key is missing", None),
    ([], "config: expected an object, found []", None),
    ({"steps": "1"}, 'config.steps: expected an integer, found "1"', None),
    ({"steps": True}, "config.steps: expected an integer, found true", None),
    ({"steps": 1.0}, "config.steps: expected an integer, found 1.0", None),
    ({"steps": -1}, "config: steps must not be negative", None),
    ({"steps": 1, "rate": "x"}, 'config.rate: expected a number, found "x"', None),
    ({"steps": 1, "rate": math.nan}, "config.rate: expected a finite number, found NaN", None),
    ({"steps": 1, "rate": 10**400}, "config.rate: expected a finite number", None),
    ({"steps": 1, "name": 3}, "config.name: expected a string, found 3", None),
    ({"steps": 1, "flag": 1}, "config.flag: expected true or false, found 1", None),
    ({"steps": 1, "either": 1.5}, "config.either: expected int | str, found 1.5", None),
    ({"steps": 1, "weights": []}, "config.weights: expected an object, found []", None),
    ({"steps": 1, "weights": {"a": "b"}}, "config.weights.a: expected a number", None),
    ({"steps": 1, "inner": 3}, "config.inner: expected an object, found 3", None),
    ({"steps": 1, "inner": {"mode": "fsat"}}, "expected one of fast, slow", "did you mean fast?"),
    ({"steps": 1, "inner": {"sizes": [1, "2"]}}, "config.inner.sizes[1]: expected an", None),
    ({"steps": 1, "inner": {"sizes": 1}}, "config.inner.sizes: expected a list", None),
    ({"steps": 1, "inner": {"pair": [1]}}, "config.inner.pair: expected 2 values, found 1", None),
]


@pytest.mark.parametrize(("data", "message", "hint"), MISTAKES)
def test_each_mistake_has_its_place(data: object, message: str, hint: str | None):
    with pytest.raises(ConfigError) as told:
        config.parse(data, Outer)
    assert message in str(told.value)
    assert hint is None or (told.value.hint or "").startswith(hint)


MEMBERS = [f"{family}/{name}" for family in config.FAMILIES for name in config.members(family)]


def test_families_have_members():
    assert {"quantizers/vq", "quantizers/rvq", "tokenizers/vqvae"} <= set(MEMBERS)


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_has_a_config_of_its_type(name: str):
    cls = config.config_class(name)
    assert cls.__module__.replace(".published.", ".") == "vqtok." + name.replace("/", ".")


def test_a_member_survives_json_with_its_type():
    data = {"type": "quantizers/vq", "codebook_size": 7}
    parsed = config.parse(data, Config)
    dumped = config.dump(parsed)
    assert dumped["type"] == config.type_name(parsed) == "quantizers/vq"
    assert dumped["codebook_size"] == 7
    assert config.parse(dumped, Config) == parsed
    assert config.parse(dumped, type(parsed)) == parsed


TYPES = [
    ({}, "config", 'config: the key "type" is missing'),
    ({"type": "quantizers/qv"}, "config", "config.type: unknown type 'quantizers/qv'"),
    ({"type": "os/path"}, "config", "config.type: unknown type"),
    ({"type": "quantizers/_codebook"}, "config", "config.type: unknown type"),
    ({"type": "quantizers/../tokenizers/vqvae"}, "config", "config.type: unknown type"),
    ({"type": ["quantizers/vq"]}, "config", 'the key "type" is missing'),
    ({"type": "tokenizers/vqvae"}, "m.quantizer", "m.quantizer.type: .* does not fit here"),
    ({"type": "quantizers/vq"}, "x/config.json: model", "model.type: .* does not fit here"),
]


@pytest.mark.parametrize(("data", "where", "message"), TYPES)
def test_only_members_of_the_right_family_can_be_named(data: object, where: str, message: str):
    with pytest.raises(ConfigError, match=message):
        config.parse(data, Config, where=where)


def test_a_near_type_is_suggested():
    with pytest.raises(ConfigError) as told:
        config.parse({"type": "quantizers/vqq"}, Config)
    assert told.value.hint == "did you mean quantizers/vq?"


def test_assignments_edit_a_copy():
    data = {"train": {"steps": 1}, "model": {"type": "a", "old": 1}}
    before = json.dumps(data)
    edited = config.assign(
        data, ["train.steps=5", "train.name=abc", "train.sizes=[1, 2]", "model.type=b", "new.x=1"]
    )
    assert edited["train"] == {"steps": 5, "name": "abc", "sizes": [1, 2]}
    assert edited["model"] == {"type": "b"}
    assert edited["new"] == {"x": 1}
    assert json.dumps(data) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps", "--set steps: expected KEY=VALUE"),
        ("=1", "--set =1: expected KEY=VALUE"),
        ("steps.x=1", "--set steps.x=1: steps is 1, not an object"),
    ],
)
def test_assignments_that_lead_nowhere_are_named(text: str, message: str):
    with pytest.raises(ConfigError) as told:
        config.assign({"steps": 1}, [text])
    assert str(told.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n "b" 2}', "not JSON: Expecting ':' delimiter at line 2, column 6"),
        ("[]", "expected an object, found []"),
        ("[" * 100_000, "not JSON"),
        ("1" * 10_000, "not JSON"),
    ],
)
def test_files_that_are_not_json_are_located(tmp_path: Path, text: str, message: str):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        config.read_json(path)
    assert str(told.value).startswith(f"{path}: {message}")


def test_unreadable_and_binary_files_are_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot read: No such file"):
        config.read_json(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.read_json(tmp_path / "b.json")


def test_the_text_of_a_config_is_canonical():
    assert (
        config.to_json({"b": (1,), "a": math.inf}) == '{\n  "a": null,\n  "b": [\n    1\n  ]\n}\n'
    )


def test_only_configs_are_dumped():
    with pytest.raises(TypeError, match="not a config"):
        config.dump({"a": 1})


def test_endless_nesting_is_refused_and_not_followed():
    data: dict[str, object] = {"type": "quantizers/fsq"}
    for _ in range(300):
        data = {"type": "quantizers/grouped", "quantizer": data}
    with pytest.raises(ConfigError, match="nested more than 40 deep"):
        config.parse(data, Config)
