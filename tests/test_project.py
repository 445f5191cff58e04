"""Facts that the project states about itself in more than one place."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import vqtok
from tests.programs import environment

ROOT = Path(__file__).parent.parent


def test_all_public_names_resolve() -> None:
    for name in vqtok.__all__:
        assert getattr(vqtok, name) is not None
    assert set(vqtok.__all__) <= set(dir(vqtok))


def test_ci_runs_the_two_commands_of_the_readme_as_written() -> None:
    readme = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in readme.splitlines() if line.startswith("python3 -m venv")]
    assert [line for line in script if "-m venv" in line] == [f"{c} || exit 1" for c in commands]
    assert len(commands) == 2 and commands[1].endswith("&& python -m pytest -n auto")
    # Each in an environment of its own, with nothing installed beside it.
    for command in commands:
        assert script[script.index(f"{command} || exit 1") - 1].startswith("rm -rf .venv ")
    before = script[: script.index(f"{commands[1]} || exit 1")]
    assert sum("install" in line for line in before) == 1


def test_ci_runs_every_test_that_the_readme_leaves_out() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    marks = re.findall(r'^  "(\w+): .*(?:left out|skipped)', project, flags=re.M)
    assert sorted(marks) == ["long", "outside", "slow"]
    assert "python -m pytest -n auto -rs -m 'slow or outside or many'" in script


@pytest.mark.slow
def test_the_fast_tests_are_of_every_room() -> None:
    command = [sys.executable, "-m", "pytest", "-n0", "--collect-only", "-m", "fast"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout
    tested = re.findall(r"^tests/(\w+)/", done.stdout, flags=re.M)
    assert {path.parent.name for path in (ROOT / "vqtok").glob("*/__init__.py")} <= set(tested)


def test_a_commit_is_checked_as_ci_checks_it() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    checks = [line.removesuffix(" .").removesuffix(" --check") for line in script[-3:]]
    assert re.findall(r"entry: ([\w -]+),", hooks) == checks


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
    assert total < 110e6
