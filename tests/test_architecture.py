"""The house's table of who may import whom, held against every file's syntax tree."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vqtok

PACKAGE = Path(vqtok.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOT = PACKAGE.parent
LAYER_0 = {"errors", "atomic", "regular", "allocator", "threads"}

_TABLE = re.findall(
    r"^\| `([\w/]+)` \|.*\|(.*)\|(.*)\|$",
    (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"),
    flags=re.M,
)
INSIDE = {room: set(re.findall(r"[\w/]+", inside)) for room, inside, _ in _TABLE}
"""Room → rooms that it may import besides itself and layer 0."""
OUTSIDE = {room: set(re.findall(r"\w+", outside)) for room, _, outside in _TABLE}
"""Room → third-party packages; all may use the standard library."""

LONGEST = 400
CONTRACTS = PACKAGE / "protocols.py"
"""All contracts are in one file, which is the one to read first: it may be longer."""


@cache
def parsed(source: str) -> ast.Module:
    """The syntax tree of a source, parsed once for all checks."""
    return ast.parse(source)


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    inner = "/".join(parts[:2])
    return inner if inner in INSIDE else parts[0]


def imports_of(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Every imported module, and whether inside a function; type checking is left out."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, inside = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack.extend((child, inside) for child in node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "vqtok":
                yield from ((f"vqtok.{alias.name}", inside) for alias in node.names)
            else:
                yield "." * node.level + (node.module or ""), inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        stack.extend((child, inside) for child in ast.iter_child_nodes(node))


def import_faults(room: str, source: str) -> list[str]:
    """What the table forbids in a file of this room."""
    faults = []
    for module, inside in imports_of(parsed(source)):
        top, _, rest = module.partition(".")
        if not top:
            faults.append(f"relative import of {module}")
        elif top == "vqtok":
            target = rest.partition(".")[0]
            is_name = target.startswith("__") or not target
            allowed = INSIDE[room] | LAYER_0 | {room}
            if not is_name and target not in allowed:
                faults.append(f"{room} imports {module}")
            elif room == "cli" and target in {"training", "pipeline"} and not inside:
                faults.append(f"{room} imports {module} at the top")
        elif top not in sys.stdlib_module_names | OUTSIDE.get(room, set()):
            faults.append(f"{room} imports {module}")
    return faults


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}


def needed(source: str) -> set[str]:
    """Modules and names of vqtok in a file's imports, those for type checking among them."""
    found: set[str] = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("vqtok")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vqtok"):
            found |= {f"{node.module}.{a.name}" for a in node.names if a.name[:2] != "__"}
    return found


def circle_in(sources: dict[str, str]) -> list[str]:
    """Modules that import each other in a ring; empty if none do."""
    graph = {
        name: {n if n in sources else n.rpartition(".")[0] for n in needed(source)} - {name}
        for name, source in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def private_faults(name: str, source: str) -> list[str]:
    """Imports of a ``_name`` from outside the folder that it stays in."""
    faults = []
    for target in sorted(needed(source)):
        parts = target.split(".")
        first = next((i for i, part in enumerate(parts) if part.startswith("_")), len(parts))
        folder = parts[:first]
        if ".".join(folder) in MODULES and MODULES[".".join(folder)].name != "__init__.py":
            folder = folder[:-1]  # a name of a module stays in the module's folder
        if first < len(parts) and name.split(".")[: len(folder)] != folder:
            faults.append(f"{name} imports {target}")
    return faults


def opening_faults(source: str) -> list[str]:
    """What is missing at the top of a file."""
    tree = parsed(source)
    faults = [] if ast.get_docstring(tree) else ["no docstring"]
    if len(tree.body) > 1 and "from __future__ import annotations" not in source:
        faults.append("annotations are not postponed")
    return faults


def style_faults(source: str, *, longest: int = LONGEST) -> list[str]:
    """Assertions used as validation, and length."""
    faults = [
        f"line {node.lineno}: assert"
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Assert)
    ]
    lines = len(source.splitlines())
    return faults + ([f"{lines} lines"] if lines > longest else [])


def faults_by_file(check: Callable[[Path, str], list[str]]) -> dict[str, list[str]]:
    """File → what a check finds in it; files without faults are left out."""
    found = {str(path.relative_to(PACKAGE)): check(path, path.read_text("utf-8")) for path in FILES}
    assert len(found) > 300
    return {name: faults for name, faults in found.items() if faults}


def test_imports_only_go_down():
    assert faults_by_file(lambda path, source: import_faults(room_of(path), source)) == {}


def test_no_file_asserts_or_outgrows_its_room():
    longest = {CONTRACTS: 600}
    assert faults_by_file(
        lambda path, source: style_faults(source, longest=longest.get(path, LONGEST))
    ) == {}  # fmt: skip


def test_every_file_says_what_it_is_and_postpones_annotations():
    assert faults_by_file(lambda path, source: opening_faults(source)) == {}


def test_no_files_import_each_other_in_a_ring():
    assert circle_in({name: path.read_text("utf-8") for name, path in MODULES.items()}) == []


def test_private_names_stay_in_their_folders():
    names = {path: name for name, path in MODULES.items()}
    assert faults_by_file(lambda path, source: private_faults(names[path], source)) == {}


def test_rings_and_private_names_are_found():
    ring = {"vqtok.a": "if TYPE_CHECKING:\n    from vqtok.b import B", "vqtok.b": "import vqtok.a"}
    assert circle_in(ring) != []
    assert private_faults("vqtok.media.audio", "from vqtok.codes import _layout") != []
    assert private_faults("vqtok.codes.search.near", "from vqtok.codes import _layout") == []


def test_every_room_is_in_the_table_and_nothing_else():
    rooms = {room_of(path) for path in FILES}
    assert rooms == set(INSIDE)
    assert not rooms & {"utils", "common", "helpers", "misc", "base"}


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("codes", "import torch"),
        ("codes", "def f():\n    import torch"),
        ("codes", "from vqtok.media import image"),
        ("media", "from vqtok import codes"),
        ("nn", "from vqtok.quantizers.vq import Config"),
        ("quantizers", "import vqtok.tokenizers.vqvae"),
        ("priors", "from vqtok.tokenizers import vqvae"),
        ("checkpoints", "from vqtok.tokenizers import vqvae"),
        ("checkpoints/foreign", "from vqtok.training import run"),
        ("checkpoints/foreign", "import taming"),
        ("backends", "import torch"),
        ("backends", "from vqtok.tokenizers import vqvae"),
        ("training", "from vqtok.cli import app"),
        ("pipeline", "from vqtok.training import run"),
        ("cli", "from vqtok.pipeline import encode"),
        ("config", "from vqtok.codes import spec"),
        ("tokenizers", "import transformers"),
        ("codes", "from .spec import CodeSpec"),
        ("atomic", "from vqtok.config import parse"),
        ("errors", "import numpy"),
    ],
)
def test_the_import_check_can_fail(room: str, source: str):
    assert import_faults(room, source) != []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("codes", "import numpy as np\nfrom vqtok.errors import CodesError"),
        ("protocols", "if TYPE_CHECKING:\n    from torch import Tensor"),
        ("cli", "def run():\n    from vqtok.pipeline import encode"),
        ("media", "from vqtok import __version__, atomic"),
    ],
)
def test_the_import_check_allows_what_the_table_allows(room: str, source: str):
    assert import_faults(room, source) == []


@pytest.mark.parametrize("source", ["assert x > 0", "x = 1\n" * (LONGEST + 1)])
def test_the_style_check_can_fail(source: str):
    assert style_faults(source) != []


@pytest.mark.parametrize("source", ["", "from __future__ import annotations", '"""A."""\nx = 1'])
def test_the_check_of_openings_can_fail(source: str):
    assert opening_faults(source) != []
