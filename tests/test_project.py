"""Facts that the project states about itself in more than one place."""

from __future__ import annotations

import re
from pathlib import Path

import vqtok

ROOT = Path(__file__).parent.parent


def test_all_public_names_resolve() -> None:
    for name in vqtok.__all__:
        assert getattr(vqtok, name) is not None
    assert set(vqtok.__all__) <= set(dir(vqtok))


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    tests = "&& python -m pytest -n auto"
    (command,) = [line for line in readme.splitlines() if line.endswith(tests)]
    steps = [step.strip().replace(" -q ", " ") for step in command.split("&&")]
    for step in steps:
        assert step in script.replace(" -q ", " ")


def test_the_changelog_has_an_entry_for_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[{re.escape(vqtok.__version__)}\]", text, flags=re.M)
    assert "Keep a Changelog" in text


def test_constraints_pin_every_dependency() -> None:
    pinned = {
        re.split("[=<>]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'^  "([a-z0-9-]+)>=', project, flags=re.M)
    named += re.findall(r'"([a-z0-9-]+)>=[^"]*"(?:, |\])', project)
    assert {"torch", "numpy", "pytest", "pesq"} <= set(named)
    assert not set(named) - pinned


def test_shipped_models_stay_small() -> None:
    total = sum(path.stat().st_size for path in (ROOT / "models").rglob("*") if path.is_file())
    assert total < 90e6
