"""Help: every command has one sentence, examples and every flag; one letter has one meaning."""

from __future__ import annotations

import re

import pytest
import typer.main

import vqtok as package

COMMANDS = [
    "encode",
    "decode",
    "compose",
    "pack",
    "unpack",
    "eval",
    "train",
    "sample",
    "convert",
    "info",
    "models",
]
LETTERS = {
    "-m": "--model", "-o": "--output", "-f": "--force", "-n": "--dry-run", "-q": "--quiet",
    "-v": "--verbose", "-j": "--jobs", "-b": "--batch", "-h": "--help", "-V": "--version",
}  # fmt: skip


def options_of(name: str) -> list:
    from vqtok.cli.app import app

    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return [each for each in command.params if each.param_type_name == "option"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_sentence_and_two_examples_that_name_the_command(vqtok, name):
    result = vqtok(name, "-h")
    assert result.exit_code == 0
    assert vqtok(name, "--help").stdout == result.stdout
    lines = result.stdout.splitlines()
    assert lines[2].startswith("  ")
    start = lines.index("  Examples:")
    examples = [line for line in lines[start + 1 :] if line.startswith(f"    vqtok {name}")]
    assert len(examples) == 2
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_documented(vqtok, name):
    text = vqtok(name, "--help").stdout
    for option in options_of(name):
        assert option.help and option.help.endswith("."), option.name
        for flag in option.opts:
            assert re.search(rf"(^|[\s,]){re.escape(flag)}\b", text, re.MULTILINE), flag


@pytest.mark.parametrize("name", COMMANDS)
def test_a_letter_has_one_meaning_and_names_have_hyphens(name):
    for option in options_of(name):
        long = [flag for flag in option.opts if flag.startswith("--")]
        for flag in option.opts:
            assert "_" not in flag
            if not flag.startswith("--"):
                assert LETTERS[flag] in long


def test_environment_variables_are_shown(vqtok):
    text = vqtok("encode", "-h").stdout
    assert "VQTOK_MODEL" in text
    assert "VQTOK_DEVICE" in text
    assert "VQTOK_MODELS" in vqtok("models", "-h").stdout


def test_the_name_alone_prints_help(vqtok):
    alone = vqtok()
    assert alone.exit_code == 0
    assert alone.stdout == vqtok("--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", alone.stdout, re.MULTILINE)


def test_help_has_no_escapes_boxes_or_types(vqtok):
    for name in COMMANDS:
        text = vqtok(name, "-h").stdout
        assert not re.search("[\x1b\x08─│╭]", text)
        assert "<" not in text


def test_version(vqtok):
    for flag in ("-V", "--version"):
        assert vqtok(flag).stdout == f"vqtok {package.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["encode"], ["nothing"], ["encode", "--nothing"], ["encode", "a.png", "--depth", "x"],
     ["encode", "a.png", "--depth", "0"], ["enc"], ["encode", "a.png", "--forc"], ["--depth", "1"],
     ["train"], ["encode", "a.png", "--force", "--skip-existing"]],
)  # fmt: skip
def test_wrong_usage_is_2_on_stderr(vqtok, picture, arguments):
    picture("a.png")
    result = vqtok(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_model_names_complete_without_loading_anything(here, shelf):
    from vqtok.cli.options import complete_model, complete_preset, complete_subject

    assert complete_model("im") == ["image-f16", "image-f8", "image-vqvae2"]
    assert {"audio-24k", "image-f8"} <= set(complete_model(""))
    assert "image-f8" in complete_preset("image")
    (here / "image.npy").touch()
    assert complete_subject("image") == ["image-f16", "image-f8", "image-vqvae2", "image.npy"]


def test_the_shell_completes_model_names(vqtok, monkeypatch, here):
    monkeypatch.setenv("_VQTOK_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "vqtok encode -m au")
    monkeypatch.setenv("COMP_CWORD", "3")
    from typer.testing import CliRunner

    from vqtok.cli.app import app

    result = CliRunner().invoke(app, [], prog_name="vqtok")
    assert result.stdout.split() == ["audio-24k"]
