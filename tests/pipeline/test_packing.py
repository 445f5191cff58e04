"""Context models beside models: found, refused where they do not fit, the same bytes everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.codes.packed import context
from vqtok.errors import CheckpointError, CodesError
from vqtok.pipeline.contexts import Contexts
from vqtok.pipeline.models import Models

MODELS = Path(__file__).parents[2] / "models"
MODEL = MODELS / "image-f8"

PACK = """
import sys
if sys.argv[3] == "alone":
    sys.modules["torch"] = None
elif sys.argv[3] == "torch":
    import torch
from pathlib import Path
from vqtok.codes import files
from vqtok.codes.packed import context
model = context.read(Path(sys.argv[1]))
codes, header = files.read(sys.argv[2])
packed = Path(sys.argv[4])
files.write(packed, codes, header, context=model)
again, _ = files.read(packed, contexts=lambda header, fingerprint: model)
assert all((a == b).all() for a, b in zip(again.levels, codes.levels))
"""


@pytest.fixture(scope="module")
def item() -> tuple[Codes, Header]:
    """Codes in patches, for which some contexts are likelier than others."""
    spec = context.read(MODEL / context.FILE).spec
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 8192, (6, 9)).repeat(4, axis=0).repeat(4, axis=1)
    noise = rng.integers(0, 8192, patches.shape)
    array = np.where(rng.random(patches.shape) < 0.3, noise, patches).astype(np.uint16)
    extent = (24 * 8 - 3, 36 * 8)
    source = Source("a.png", mode="RGB", format="PNG")
    header = Header(spec, extent, "image-f8", 1, source, "0.2.0")
    return Codes(spec, (array[None],), extent), header


@pytest.fixture
def with_model(item: tuple[Codes, Header], tmp_path: Path) -> tuple[Path, context.ContextModel]:
    path = tmp_path / "codes.npy"
    files.write(path, *item)
    return path, context.read(MODEL / context.FILE)


@pytest.mark.slow
def test_the_bytes_depend_on_no_thread_instruction_set_or_library(with_model, tmp_path: Path):
    path, _ = with_model
    found = set()
    for number, (libraries, changes) in enumerate(
        [
            ("alone", {"OPENBLAS_NUM_THREADS": "1"}),
            ("alone", {"OPENBLAS_NUM_THREADS": "2"}),
            ("alone", {"OPENBLAS_CORETYPE": "Haswell"}),
            ("alone", {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"}),
            ("torch", {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}),
            ("torch", {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2"}),
        ]
    ):
        target = tmp_path / f"{number}.vqz"
        arguments = [str(MODEL / context.FILE), str(path), libraries, str(target)]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PACK, *arguments],
            env=os.environ | changes,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.add(target.read_bytes())
    assert len(found) == 1


def test_the_model_beside_the_tokenizer_is_taken_and_read_again(item, tmp_path: Path):
    codes, header = item
    contexts = Models().contexts
    found = contexts.packing(header)
    assert found is not None
    path = tmp_path / "a.vqz"
    files.write(path, codes, header, context=found)
    again, _ = files.read(path, contexts=contexts)
    np.testing.assert_array_equal(again.levels[0], codes.levels[0])
    plain = tmp_path / "plain.vqz"
    files.write(plain, codes, header)
    assert files.read(plain)[1] == header


def test_another_context_model_is_refused_with_both_fingerprints(with_model, item, tmp_path: Path):
    _, model = with_model
    codes, header = item
    path = tmp_path / "a.vqz"
    files.write(path, codes, header, context=model)
    tensors = dict(model.tensors)
    tensors["offset"] = tensors["offset"] + 1
    folder = tmp_path / "other"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("previews", context.FILE))
    models = Models(str(folder))
    with pytest.raises(CodesError, match="not here"):
        files.read(path, contexts=models.contexts)
    other = context.ContextModel(
        model.spec, near=model.near, across=model.across, bits=model.bits, tensors=tensors
    )
    other.write(folder / context.FILE)
    with pytest.raises(CodesError, match=f"{model.fingerprint}.*{other.fingerprint}"):
        files.read(path, contexts=Models(str(folder)).contexts)


def test_a_context_model_of_other_codes_is_refused_if_named_and_passed_over_if_not(
    item, tmp_path: Path
):
    _, header = item
    other = replace(header, spec=header.spec.with_fingerprint("fedcba9876543210"))
    named = Contexts(Models().info_for_header, MODEL)
    with pytest.raises(CheckpointError, match="other codes"):
        named.packing(other)
    assert Models().contexts.packing(other) is None


@pytest.mark.parametrize(
    "path", sorted(MODELS.glob(f"*/{context.FILE}")), ids=lambda p: p.parent.name
)
def test_shipped_context_models_are_of_their_models_and_small(path: Path):
    from vqtok.checkpoints import directory

    model = context.read(path)
    assert model.spec == directory.describe(path.parent).spec
    assert path.stat().st_size <= 3_000_000
    assert context.FILE in (path.parent / "README.md").read_text(encoding="utf-8")
