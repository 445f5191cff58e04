"""Any spec, header and codes that belong together, small."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from vqtok.codes.container import Codes
from vqtok.codes.files import Header, Source
from vqtok.codes.spec import RANKS, CodeSpec, LevelSpec, Modality

AXES = {"image": ("h", "w"), "audio": ("t",), "video": ("t", "h", "w")}
SIZES = (1, 2, 200, 256, 257, 8192, 65536, 65537, 1 << 20)

names = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/"), min_size=1, max_size=8
).filter(lambda text: text.isprintable() and text not in (".", ".."))


@st.composite
def specs(draw: st.DrawFn, modality: Modality | None = None) -> CodeSpec:
    kind = modality or draw(st.sampled_from(("image", "audio", "video")))
    spatial = AXES[kind]
    labels = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    levels = []
    for label in labels:
        shape = draw(st.sampled_from(("grid", "stack", "latents")))
        axes = {"grid": spatial, "stack": ("q", *spatial), "latents": ("n",)}[shape]
        levels.append(
            LevelSpec(
                name=label,
                axes=axes,
                codebook_size=draw(st.sampled_from(SIZES)),
                stride=()
                if shape == "latents"
                else tuple(draw(st.integers(1, 8)) for _ in spatial),
                depth=None if shape == "grid" else draw(st.integers(1, 4)),
            )
        )
    return CodeSpec(
        modality=kind,
        levels=tuple(levels),
        rate=None if kind == "image" else draw(st.sampled_from((8000.0, 24000.0, 29.97))),
        fingerprint=draw(st.sampled_from(("", "0123456789abcdef"))),
    )


sources = st.builds(
    Source,
    name=st.one_of(st.just(""), names),
    rate=st.one_of(st.none(), st.integers(1, 192_000)),
    length=st.one_of(st.none(), st.integers(1, 10**9)),
    mode=st.sampled_from((None, "RGB", "L")),
    format=st.sampled_from((None, "PNG", "WAV")),
)


@st.composite
def items(draw: st.DrawFn, modality: Modality | None = None) -> tuple[Codes, Header]:
    """Codes of one item, perhaps of fewer stages or of several channels, and their header."""
    spec = draw(specs(modality))
    extent = tuple(draw(st.integers(1, 20)) for _ in range(RANKS[spec.modality]))
    channels = draw(st.integers(1, 3)) if spec.modality == "audio" else 1
    depth = None if spec.depth is None else draw(st.integers(1, spec.depth))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    levels = tuple(
        random.integers(0, level.codebook_size, (channels, *level.shape(extent, depth=depth)))
        for level in spec.levels
    )
    codes = Codes(spec, levels, extent)
    header = Header(
        spec=spec,
        extent=extent,
        model=draw(st.one_of(st.just(""), names)),
        channels=channels,
        source=draw(sources),
        vqtok=draw(st.sampled_from(("", "0.1.0"))),
    )
    return codes, header


def image(size: int = 512) -> tuple[Codes, Header]:
    """A fixed small picture's codes, as one would meet them."""
    level = LevelSpec("codes", ("h", "w"), size, (8, 8))
    spec = CodeSpec("image", (level,), fingerprint="0123456789abcdef")
    array = np.random.default_rng(0).integers(0, size, (1, 5, 3))
    header = Header(spec, (33, 20), "image-f8", 1, Source("cat.png", mode="RGB"), "0.1.0")
    return Codes(spec, (array,), (33, 20)), header


def audio(channels: int = 2, depth: int = 4) -> tuple[Codes, Header]:
    """A fixed short recording's codes."""
    level = LevelSpec("codes", ("q", "t"), 1024, (320,), 4)
    spec = CodeSpec("audio", (level,), 24000.0, "fedcba9876543210")
    array = np.random.default_rng(0).integers(0, 1024, (channels, depth, 4))
    header = Header(spec, (1000,), "audio-24k", channels, Source("a.wav", 44100, 1837), "0.1.0")
    return Codes(spec, (array,), (1000,)), header


def hierarchy() -> tuple[Codes, Header]:
    """A fixed picture's codes of two levels."""
    top = LevelSpec("top", ("h", "w"), 512, (8, 8))
    bottom = LevelSpec("bottom", ("h", "w"), 300, (4, 4))
    spec = CodeSpec("image", (top, bottom), fingerprint="00112233445566aa")
    random = np.random.default_rng(0)
    levels = tuple(random.integers(0, 300, (1, *level.shape((33, 20)))) for level in (top, bottom))
    return Codes(spec, levels, (33, 20)), Header(spec, (33, 20), "vqvae2", 1, Source(), "0.1.0")
