"""What starts fast must not import torch, not even through something else."""

from __future__ import annotations

import pytest

from tests.programs import run

HEAVY = {"torch", "torchmetrics", "scipy", "pyarrow", "matplotlib", "jinja2"}
REPORT = f"; import sys; print(*sorted({HEAVY} & set(sys.modules)))"

MODULES = [
    "vqtok",
    "vqtok.api",
    "vqtok.atomic",
    "vqtok.checkpoints.directory",
    "vqtok.checkpoints.priors",
    "vqtok.cli",
    "vqtok.codes.files",
    "vqtok.corpus.reader",
    "vqtok.corpus.writer",
    "vqtok.config",
    "vqtok.errors",
    "vqtok.media.audio",
    "vqtok.media.image",
    "vqtok.media.plan",
    "vqtok.pipeline.inspect",
    "vqtok.pipeline.prior_models",
    "vqtok.pipeline.sample_plan",
    "vqtok.protocols",
]

COMMANDS = [
    ["--help"],
    ["--version"],
    ["models"],
    *(
        [name, "--help"]
        for name in (
            *("encode", "decode", "eval", "train", "sample"),
            *("convert", "export", "info", "models"),
        )
    ),
]


def heavy_imports_of(program: str) -> str:
    done = run(program + REPORT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_any_of_these_does_not_import_torch():
    # One after the other: what is loaded by none of them together is loaded by none alone.
    program = (
        "import importlib, sys\n"
        f"for name in {MODULES}:\n"
        "    importlib.import_module(name)\n"
        f"    if found := {HEAVY} & set(sys.modules):\n"
        "        print(name, *sorted(found)); break"
    )
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_does_not_import_torch():
    program = (
        "import sys, vqtok.cli\n"
        f"for arguments in {COMMANDS}:\n"
        "    sys.argv = ['vqtok', *arguments]\n"
        "    try: vqtok.cli.main()\n"
        "    except SystemExit as end: print('ended:', *arguments, end.code, file=sys.stderr)\n"
        "    if 'torch' in sys.modules: print('ended: torch', file=sys.stderr); break"
    )
    done = run(program)
    ended = [line for line in done.stderr.splitlines() if line.startswith("ended: ")]
    assert (done.returncode, ended) == (0, [f"ended: {' '.join(each)} 0" for each in COMMANDS])
    assert done.stdout.count("Usage: vqtok ") == len(COMMANDS) - 2


def test_this_check_can_fail():
    assert heavy_imports_of("import vqtok.metrics.registry") == "torch"  # which has use for others
    assert heavy_imports_of("import vqtok; vqtok.load; import jinja2") == "jinja2"


def test_public_names_resolve_and_are_listed():
    import vqtok

    for name in vqtok.__all__:
        assert getattr(vqtok, name) is not None
        assert name in dir(vqtok)
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = vqtok.nothing


def test_light_public_names_do_not_import_torch():
    import vqtok

    program = "import vqtok; " + "; ".join(f"vqtok.{name}" for name in vqtok.__all__)
    assert heavy_imports_of(program) == ""
