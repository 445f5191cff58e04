"""The stage "decoder" of training: encoder and codebook are held still.

It is the second stage of AudioDec (Wu et al. 2023, arXiv:2305.16608, section 3.3): encoder and
codebook stay as they are and the decoder alone goes on, usually against a discriminator. Codes made
before stay valid: the model after the stage makes the same ones, bit for bit, and decodes them in
another way.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from vqtok.errors import UsageError
from vqtok.protocols import LearnedCodebook, Quantized
from vqtok.quantizers.rvq import Rvq, kept_stages

HELD = ("encoder", "quantizer")
"""Parts of a tokenizer of ours that the stage "decoder" holds still; of published ones it is all
but their ``decoding_parts``."""


@runtime_checkable
class Published(Protocol):
    """A tokenizer that others published: no quantizer of ours, but a decoder that may learn."""

    channels: int
    """C of the signals."""
    decodes: bool
    """Whether there is a decoder."""

    @property
    def decoding_parts(self) -> tuple[str, ...]:
        """Submodules that decoding alone uses; empty: none can be told from the rest."""


def freeze(model: nn.Module) -> None:
    """Put a tokenizer in training mode, but hold still what its codes hang on.

    Call it wherever ``model.train()`` would be called: after every measurement, too. Parameters of
    encoder and quantizer take no gradient, so that none is computed for latents either, and both
    are in evaluation mode: moving averages stand still, no entry is revived. Where the quantizer
    drops stages while it trains, the decoder still sees such shorter stacks, drawn from the
    quantizer's ``generator``.

    Of networks that others published all layers stay in evaluation mode: those that learn do so as
    they decode.

    Args:
        model: A tokenizer with ``encoder``, ``quantizer`` and ``decoder``, or a published one.

    Raises:
        UsageError: the codebook was never filled.
    """
    model.train()
    if isinstance(model, Published):
        model.requires_grad_(False)
        for part in model.children():
            part.eval()
        for name in model.decoding_parts:
            model.get_submodule(name).requires_grad_(True)
        return
    model.requires_grad_(True)  # models that come from a directory learn nothing
    for name in HELD:
        model.get_submodule(name).requires_grad_(False).eval()
    quantizer = model.get_submodule("quantizer")
    if any(
        isinstance(part, LearnedCodebook) and not part.initialised for part in quantizer.modules()
    ):
        raise UsageError(
            "--stage decoder",
            "the model has no codebook yet",
            hint="train all of it first",
        )
    if getattr(getattr(quantizer, "config", None), "dropout", 0.0) > 0 and not any(
        isinstance(hook, _Shortened) for hook in quantizer._forward_hooks.values()
    ):
        quantizer.register_forward_hook(_Shortened(model))


def held(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a tokenizer that the stage "decoder" holds still, by name."""
    state = model.state_dict()
    if isinstance(model, Published):
        learning = tuple(f"{name}." for name in model.decoding_parts)
        return {name: value for name, value in state.items() if not name.startswith(learning)}
    still = tuple(f"{name}." for name in HELD)
    return {name: value for name, value in state.items() if name.startswith(still)}


class _Shortened:
    """Leaves out the last stages of some items, as ``quantizers/rvq`` does while it learns.

    Args:
        model: Whose quantizer it hooks; nothing is left out while the model is being evaluated.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, quantizer: Rvq, args: tuple[Tensor], output: Quantized) -> Quantized:
        if not self.model.training:
            return output
        batch, depth = output.codes.shape[:2]
        joint, mine = kept_stages(
            batch,
            quantizer.config,
            generator=quantizer.generator,
            device=output.codes.device,
        )
        kept = joint[mine]
        z_q: Tensor = output.z_q.clone()
        for count in sorted(set(kept.tolist())):
            if count < depth:
                items = (kept == count).nonzero().squeeze(1).to(z_q.device)
                z_q[items] = quantizer.decode(output.codes[items, :count]).to(z_q.dtype)
        return output._replace(z_q=z_q)
