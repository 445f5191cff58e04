"""The words that every room shares: what a quantizer, a tokenizer, a prior and their results are.

Axes, everywhere: B batch, C channels, D latent dimension, K codebook size, Q stack depth, H W grid
or pixels, T frames, L samples. ``*grid`` is the code grid: (H, W) for images, (T,) for audio;
``*space`` is the signal: (H, W) or (L,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    TypeGuard,
    TypeVar,
    runtime_checkable,
)

from vqtok.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from PIL.Image import Image
    from torch import Generator, Tensor
    from torch.nn import Module

    from vqtok.codes.container import Codes
    from vqtok.codes.packed.context import ContextModel
    from vqtok.codes.spec import CodeSpec
    from vqtok.graphs.graph import Weight
    from vqtok.graphs.store import Graphs

    Signal = Tensor | np.ndarray | Image
    GivenCodes = Codes | Tensor | np.ndarray | Sequence[Tensor | np.ndarray]

NO_DECODER = "encodes only: this model has no decoder"

Pixels = TypeVar("Pixels")
"""A tensor, or an array of numpy."""


@runtime_checkable
class Config(Protocol):
    """A frozen dataclass named ``Config`` in a family's file, whose ``build`` makes the module.

    Quantizers take the latent dimension: ``build(dim=64)``. Tokenizers take nothing. Priors take
    what they are to model: ``build(spec=tokenizer.spec)``.
    """

    @property
    def build(self) -> Callable[..., Any]:
        """Make the module, with fresh weights."""


class SpecConfig(Config, Protocol):
    """The config of a tokenizer that tells its codes without being built."""

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes, without a fingerprint."""


def decodes(config: Config) -> bool:
    """Tell whether a tokenizer of this config has a decoder; one that has none says so itself."""
    return bool(getattr(config, "decodes", True))


class Quantized(NamedTuple):
    """What a quantizer returns, in training and evaluation alike."""

    z_q: Tensor
    """(B, D, *grid) float: what the decoder reads; gradients reach z."""
    codes: Tensor
    """int64 (B, *grid), or (B, Q, *grid) if the quantizer has a depth; zeros without a meaning if
    it is continuous."""
    loss: Tensor
    """(): weighted codebook and commitment terms; zero where the method has none."""
    terms: Mapping[str, Tensor] = MappingProxyType({})
    """What ``loss`` is made of: name → (), weighted and detached. Their sum is ``loss``."""


class Assigned(NamedTuple):
    """Codes of latents that are known only roughly."""

    codes: Tensor
    """int64 (B, *grid), or (B, Q, *grid) if the quantizer has a depth."""
    near_tie: Tensor
    """bool (B, *grid): latents within the tolerance around z would have other codes."""


class Quantizer(Protocol):
    """Continuous latents ⇄ integers."""

    codebook_size: int
    """K: every code c satisfies 0 <= c < K. 0: the method is continuous (a plain or a variational
    autoencoder) and has no codes; then ``assign`` and ``decode`` raise ``UsageError``."""
    depth: int | None
    """Q stacked codebooks; None: codes have no q axis."""

    def __call__(self, z: Tensor) -> Quantized:
        """Quantize z, (B, D, *grid) of any rank."""

    def assign(self, z: Tensor, *, tolerance: float) -> Assigned:
        """Give the codes of ``__call__``, and mark those that the last bits of z decide.

        Args:
            z: (B, D, *grid) float32; or float64, then all is decided in float64.
            tolerance: Euclidean distance that z may have from the latent that is meant.
        """

    def decode(self, codes: Tensor) -> Tensor:
        """Codes as in ``Quantized.codes`` (fewer stages are allowed) → (B, D, *grid) float."""


@dataclass(frozen=True)
class RecomputeStats:
    """Counts of float64 recomputations.

    Attributes:
        latents: All that were coded.
        recomputed: Those of them that were computed again in float64, to decide near ties.
    """

    latents: int = 0
    recomputed: int = 0

    def __add__(self, other: RecomputeStats) -> RecomputeStats:
        """Add both counts."""
        return RecomputeStats(self.latents + other.latents, self.recomputed + other.recomputed)


class Reconstructed(NamedTuple):
    """What a tokenizer returns when called for training."""

    x: Tensor
    """(B, C, *space): the reconstruction, cropped to the input's size."""
    codes: Codes
    """The codes, as torch tensors."""
    loss: Tensor
    """(): the quantizer's loss."""
    terms: Mapping[str, Tensor] = MappingProxyType({})
    """``Quantized.terms``; of several levels all of them, as "commitment_top"."""
    raw: Tensor | None = None
    """What the decoder gave before it became ``x``, for likelihoods that need it: (B, n·C, *space).
    None where it is the same as ``x``."""


Label = int | str | None
"""A name, its number, or None for a model without labels."""


class Labels(Protocol):
    """Classes or speakers that a decoder is conditioned on."""

    names: tuple[str, ...]
    """In the order of their numbers; none: the decoder has no condition."""

    def number(self, label: Label) -> int:
        """Give the number of a label; 0 if the model has none and none is given.

        Raises:
            UsageError: none where one is needed, one where there are none, or an unknown one.
        """


class Tokenizer(Protocol):
    """Encoder, quantizer and decoder as one: signals ⇄ codes. All of them are torch modules."""

    config: Config
    spec: CodeSpec
    """Of the codes; carries a fingerprint once the tokenizer was loaded from a directory."""
    name: str
    """The directory's NAME; "" if it was not loaded from one."""
    exact: bool
    """Whether codes depend on nothing but the signal and the model. Such a model is an
    ``ImageTokenizer`` or an ``AudioTokenizer``."""

    @property
    def labels(self) -> Labels:
        """Labels that the decoder is conditioned on."""

    @property
    def recompute_stats(self) -> RecomputeStats:
        """Count the latents coded so far, and those of them in float64."""

    def encode(self, x: Signal) -> Codes:
        """Encode (B, C, *space) in [-1, 1], or what else ``tokenizers/_given.py`` takes.

        Raises:
            UsageError: another shape or range, or a model without codes.
        """

    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Encode float32 signals of any sizes, (C, *space) each, as ``encode`` does each alone.

        Raises:
            UsageError: another shape, or a model without codes.
        """

    def decode(
        self, codes: GivenCodes, *, extent: tuple[int, ...] | None = None, label: Label = None
    ) -> Tensor:
        """Decode to (B, C, *space), cropped to the extent; plain codes are (B, *axes) or (*axes).

        Raises:
            UsageError: a label that does not fit the model.
        """

    def latents(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute what is quantized: (B, D, *grid) float32; of several levels a tuple."""

    def render(self, z_q: Tensor, extent: tuple[int, ...], *, label: Label = None) -> Tensor:
        """Decode (B, D, *grid), also of what has no codes: (B, C, *extent)."""

    def __call__(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct differentiably, with the arithmetic of encode and decode.

        Args:
            x: (B, C, *space).
            labels: int64 (B,), if the model has labels.
        """


class TrainableQuantizer(Quantizer, Protocol):
    """A member of ``quantizers/``."""

    generator: Generator | None
    """The source of every random choice (a CPU generator; None: torch's global one)."""


class TrainableTokenizer(Tokenizer, Protocol):
    """A tokenizer of our own, whose quantizer is a member of ``quantizers/``."""

    channels: int
    """C of the signals."""
    receptive_field: int
    """Pixels per side, or samples, that one code depends on."""

    @property
    def quantizer(self) -> TrainableQuantizer:
        """The quantizer; of several levels a module of them, see ``quantizers``."""

    @property
    def quantizers(self) -> Sequence[Quantizer]:
        """List the quantizer of each level, coarse → fine."""


class InWindows(Protocol[Pixels]):
    """Codes images that need not be in memory whole."""

    def encode_windows(
        self, size: tuple[int, int], read: Callable[[slice, slice], Pixels]
    ) -> Codes:
        """Encode one image of (H, W) pixels: numpy codes of batch 1, in small dtypes.

        Args:
            size: (H, W).
            read: Rows and columns → (C, h, w) float32 in [-1, 1] of them.
        """

    def decode_tiles(
        self, codes: Codes, *, item: int = 0, label: Label = None
    ) -> Iterator[tuple[slice, slice, Pixels]]:
        """Decode one image of a batch.

        Yields:
            Rows, columns, and (C, h, w) float32 of them; together they cover the extent once.
        """


class ImageTokenizer(Tokenizer, InWindows["Tensor"], Protocol):
    """An exact tokenizer of images."""


class AudioTokenizer(Tokenizer, Protocol):
    """An exact tokenizer of audio, whose codes have one level, in pieces."""

    def encode_stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode (B, C, n) blocks of any lengths: int64 (B, *axes) pieces."""

    def decode_stream(
        self, pieces: Iterable[Tensor], length: int | None = None, *, label: Label = None
    ) -> Iterator[Tensor]:
        """Decode int64 (B, *axes) pieces of any lengths: (B, C, n) samples.

        Args:
            pieces: In order.
            length: Samples to give in total; None: all that the codes stand for.
            label: If the model has labels.
        """


@runtime_checkable
class Painter(TrainableTokenizer, ImageTokenizer, Protocol):
    """A tokenizer of images whose codes can be chosen by what its decoder makes of them."""

    def paint(self, z_qs: Sequence[Tensor]) -> Tensor:
        """Decode (B, D, h, w) of each level to (B, C, H, W) around [-1, 1], differentiably."""


@runtime_checkable
class Graphed(Protocol):
    """A tokenizer whose networks can be written as graphs, to run without torch."""

    spec: CodeSpec

    def graphs(self, stored: Mapping[str, Weight]) -> Graphs:
        """Write encoder and decoder.

        Args:
            stored: Where each tensor lies in the weights file.
        """


@runtime_checkable
class Packing(Protocol):
    """A prior that can be rounded to integers, to pack codes with."""

    def packed(self) -> ContextModel:
        """Round the weights."""


class Halves(NamedTuple):
    """The networks of a tokenizer as two modules that torch's exporter can trace."""

    encoder: Module
    """(B, C, *space), sides multiples of ``multiple`` → a tuple of the codes of each level."""
    decoder: Module
    """Codes of each level, then the tensors that ``noise`` gives → (B, C, *space)."""
    channels: int
    """C."""
    multiple: int
    """Of pixels per side, or samples."""
    fill: Literal["edge", "black", "resize", "zeros"]
    """How signals of other sizes are brought to such: the last row and column again; black around
    them; another size; silence behind the end."""
    longest: int | None = None
    """Samples that are coded together, if recordings are coded in chunks."""
    step: int | None = None
    """Samples from the begin of a chunk to that of the next one."""
    noise: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]] | None = None
    """Noise that decoding of these codes draws, (1, 1, n) each; None: it draws none."""
    density: tuple[int, ...] = ()
    """How many numbers of noise there are for ``multiple`` samples, of each."""


@runtime_checkable
class Halved(Protocol):
    """A tokenizer whose networks are exported by tracing them."""

    def halves(self) -> Halves:
        """Give the networks; of a copy where tracing would leave something behind."""


@runtime_checkable
class LearnedCodebook(Protocol):
    """A quantizer whose entries are placed among the latents that a warm-up collected."""

    initialised: Tensor
    """() bool: whether they are."""

    def place_codebook(self) -> None:
        """Place the entries now; nothing is done if they are placed already."""

    def restart(self) -> bool:
        """Place the entries anew among the next latents; False: it cannot."""

    def begin_averages(self) -> None:
        """Make moving averages fit the entries as they are; without averages nothing is done."""


class RoundTrip(NamedTuple):
    """What a coder makes of signals that it encodes and decodes again, and in what time."""

    x: np.ndarray
    """(B, C, *space) float32: the reconstruction, of the input's size."""
    codes: Codes | None
    """numpy codes; None of a model whose latents are continuous."""
    latents: np.ndarray | None
    """(B, D, *grid) float32, as the quantizer is given them, of such a model."""
    encode_s: float
    decode_s: float


class Coder(Protocol):
    """A model at work, behind a border of numpy arrays: files to codes and back need no more.

    Implemented in ``backends/``. Its codes are numpy arrays of each level's small dtype.
    """

    spec: CodeSpec
    """Of its codes, with the fingerprint of its model."""
    name: str
    """NAME of its model; "" if that was not loaded from a directory."""
    exact: bool
    """Whether codes depend on nothing but the signal and the model."""
    labels: tuple[str, ...]
    """Classes or speakers that decoding is conditioned on; empty: none."""
    device: str
    """Type of the device it computes on: "cpu" or "cuda"."""

    @property
    def recompute_stats(self) -> RecomputeStats:
        """Count the latents coded so far, and those recomputed in float64."""

    @property
    def threads(self) -> int:
        """CPU threads that one call may use."""

    def use_threads(self, count: int) -> None:
        """Limit the CPU threads of calls from this thread, and from threads that start later."""

    def encode_many(self, signals: Sequence[np.ndarray]) -> list[Codes]:
        """Encode (C, *space) float32 signals in [-1, 1] of any sizes, each as if it were alone."""

    def decode(self, codes: Codes, *, label: Label = None) -> np.ndarray:
        """Decode codes to (B, C, *extent) float32."""

    def round_trip(
        self, x: np.ndarray, *, depth: int | None = None, label: Label = None
    ) -> RoundTrip:
        """Encode and decode (B, C, *space) float32 in [-1, 1], also with continuous latents.

        Args:
            x: The signals.
            depth: Keep the first N residual stages; None: all.
            label: Of all signals, if the model has labels.
        """


class ImageCoder(Coder, InWindows["np.ndarray"], Protocol):
    """Images ⇄ codes, a window or a tile in memory at a time where the model is exact."""


class AudioCoder(Coder, Protocol):
    """Audio ⇄ codes, in pieces where the model is exact."""

    def encode_stream(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
        """Encode audio that arrives in blocks.

        Args:
            blocks: (B, C, n) float32 samples in [-1, 1] at ``spec.rate`` Hz, of any lengths.

        Yields:
            Codes (B, *axes) of every level; joined they are those of the joined blocks.
        """

    def decode_stream(
        self,
        pieces: Iterable[tuple[np.ndarray, ...]],
        length: int | None = None,
        *,
        label: Label = None,
    ) -> Iterator[np.ndarray]:
        """Decode codes that arrive in pieces.

        Args:
            pieces: Codes (B, *axes) of every level.
            length: Samples to give in total; None: all that the codes stand for.
            label: If the model has labels.

        Yields:
            (B, C, n) float32 samples, the same ones however the codes arrive.
        """


class ArrayCoder(Coder, Protocol):
    """A coder that takes what a user has, not only what files were read to."""

    def encode(self, x: np.ndarray | Image) -> Codes:
        """Encode (B, C, *space) in [-1, 1]; or integers, or a picture, as files have them."""


def is_image(coder: Coder) -> TypeGuard[ImageCoder]:
    """Tell whether a coder is for images, as its spec says."""
    return coder.spec.modality == "image"


def is_audio(coder: Coder) -> TypeGuard[AudioCoder]:
    """Tell whether a coder is for audio, as its spec says."""
    return coder.spec.modality == "audio"


class Classifier(Protocol):
    """Images → probabilities of their classes."""

    config: Config
    spec: CodeSpec
    """Of no codes: it says the modality."""
    name: str
    """The directory's NAME; "" if it was not loaded from one."""
    classes: tuple[str, ...]

    def probabilities(self, x: Tensor) -> Tensor:
        """Classify (B, C, H, W) in [-1, 1]: (B, classes) probabilities."""


class Prompt(NamedTuple):
    """Codes that a sample begins with."""

    codes: Codes
    """Of one signal, or of as many as are sampled; of any size where they are not kept."""
    keep: int
    """Rows (images), frames (audio, video) or tokens that are kept from the start, counted on the
    first level. Other levels keep what lies in the same part of the signal."""


def check_choice(
    *, temperature: float, top_k: int | None, top_p: float | None, guidance: float
) -> None:
    """Check how codes are to be drawn: numbers that ``Prior.sample`` takes.

    Raises:
        UsageError: one that it does not take.
    """
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise UsageError(f"temperature {temperature} is not 0 or more")
    if top_k is not None and top_k < 1:
        raise UsageError(f"top-k {top_k} is not 1 or more")
    if top_p is not None and not 0 < top_p <= 1:
        raise UsageError(f"top-p {top_p} is not above 0 and at most 1")
    if not (guidance >= 0 and math.isfinite(guidance)):
        raise UsageError(f"guidance {guidance} is not 0 or more")


class Prior(Protocol):
    """A distribution over the codes of one tokenizer, by classes if it has any."""

    config: Config
    """Has ``classes: tuple[str, ...]``, in the order of their numbers."""
    spec: CodeSpec
    """Of the tokenizer whose codes it models."""
    name: str
    """The directory's NAME; "" if it was not loaded from one."""
    classes: tuple[str, ...]

    def __call__(self, codes: Codes, *, condition: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of a batch, (), nats per code; differentiable.

        Args:
            codes: Levels are integer tensors or arrays (B, *axes), in range.
            condition: int64 (B,): the class of each item, -1 for unknown. None: all unknown.

        Raises:
            UsageError: codes of another spec, or a condition that does not fit.
        """

    def nll(self, codes: Codes, *, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        """Compute each code's cost in nats, per level (B, *axes); ``__call__`` is their mean."""

    def sample(
        self,
        count: int,
        extent: tuple[int, ...],
        *,
        condition: Tensor | None = None,
        prompt: Prompt | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance: float = 1.0,
        seed: int = 0,
        first: int = 0,
        cached: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Codes:
        """Draw codes of new signals: int64, of batch B, on the model's device.

        Item i depends on the model, ``seed``, ``first + i`` and the arguments that concern it: not
        on how many others are drawn with it, nor on ``cached`` or the number of threads.

        Args:
            count: B, how many.
            extent: (H, W), (L,) or (T, H, W) of each signal.
            condition: int64 (B,) or (1,): classes, -1 for none. None: none.
            prompt: What the samples begin with.
            temperature: Above 1 more varied, below 1 more likely; 0 takes the likeliest code.
            top_k: Draw among the so many likeliest codes.
            top_p: Draw among the likeliest codes that together have this probability.
            guidance: Of classifier-free guidance; above 1 it needs a condition and twice the time.
            seed: Of all randomness.
            first: Number of the first item: a long series can be drawn in batches.
            cached: False computes everything anew for each code: slow, for comparison.
            progress: Called with the steps done and their total.

        Raises:
            UsageError: arguments out of range, or that do not fit the model or the prompt.
        """
