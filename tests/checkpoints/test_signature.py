"""The fingerprint of weights in memory is that of the file that they would be."""

from __future__ import annotations

import hashlib

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from vqtok.checkpoints import weights

SHAPES = st.lists(st.integers(0, 4), max_size=4)
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.int64, torch.uint8, torch.bool])


@given(
    entries=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter("__metadata__".__ne__),
        st.tuples(SHAPES, DTYPES),
        max_size=8,
    ),
    config=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_a_signature_is_the_hash_of_the_file_that_safetensors_makes(entries, config: str):
    generator = torch.Generator().manual_seed(len(entries))
    tensors = {
        name: torch.randint(0, 100, shape, generator=generator).to(dtype)
        for name, (shape, dtype) in entries.items()
    }
    data = save(tensors)
    expected = hashlib.sha256(config.encode() + b"\0" + data).hexdigest()[:16]
    assert weights.signature(config, tensors) == (expected, len(data))
