"""Configs of priors: what does not fit together is said before anything is built."""

from __future__ import annotations

from typing import Any

import pytest

from tests.priors.conftest import IMAGE, PAIR, PIXELCNN, STACK, STACKED_IMAGE, TRANSFORMER
from vqtok import config
from vqtok.codes.spec import CodeSpec
from vqtok.errors import ConfigError, UsageError
from vqtok.priors import transformer

HIERARCHY = {"type": "priors/hierarchical", "top": TRANSFORMER, "finer": PIXELCNN}


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 20},
        {"width": 0},
        {"blocks": 0},
        {"dropout": 1.0},
        {"depth": 0},
        {"classes": ["a", "a"]},
        {"classes": [""]},
        {"unlabelled": 1.5},
        {"pattern": "spiral"},
    ],
    ids=str,
)
def test_transformers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        config.parse({"type": "priors/transformer", "heads": 4} | wrong, config.Config)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kernel": 4},
        {"kernel": 1},
        {"layers": 0},
        {"attention": -1},
        {"heads": 3},
        {"dropout": 1.0},
    ],
    ids=str,
)
def test_pixelcnns_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        config.parse({"type": "priors/pixelcnn"} | wrong, config.Config)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"top": HIERARCHY}, "several levels"),
        ({"finer": TRANSFORMER | {"classes": ["a"]}}, "said once"),
        ({"finer": TRANSFORMER | {"depth": 2}}, "depth"),
        ({"top": {"type": "quantizers/vq"}}, "does not fit"),
    ],
)
def test_hierarchies_that_make_no_sense_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.parse(HIERARCHY | wrong, config.Config)


@pytest.mark.parametrize("spec", [PAIR, STACK, STACKED_IMAGE])
def test_a_pixelcnn_is_for_one_grid(spec: CodeSpec) -> None:
    with pytest.raises(ConfigError, match="one grid"):
        config.parse(PIXELCNN, config.Config).build(spec=spec)


def test_a_hierarchy_is_for_several_levels() -> None:
    with pytest.raises(ConfigError, match="several levels"):
        config.parse(HIERARCHY, config.Config).build(spec=IMAGE)


def test_there_is_no_prior_of_a_tokenizer_without_codes() -> None:
    with pytest.raises(UsageError, match="without codes"):
        transformer.Config().build(spec=CodeSpec("image", ()))


@pytest.mark.parametrize("data", [TRANSFORMER, PIXELCNN, HIERARCHY])
def test_a_config_survives_json(data: dict[str, Any]) -> None:
    classes = {"classes": ["ant", "bee"]}
    made = config.parse(data | classes, config.Config)
    assert config.parse(config.dump(made), config.Config) == made
    assert made.build(spec=PAIR if data is HIERARCHY else IMAGE).classes == ("ant", "bee")
