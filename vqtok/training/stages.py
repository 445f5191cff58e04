"""The stage "decoder" of training: encoder and codebook are held still.

It is the second stage of AudioDec (Wu et al. 2023, arXiv:2305.16608, section 3.3): encoder and
codebook stay as they are and the decoder alone goes on, usually against a discriminator. Codes made
before stay valid: the model after the stage makes the same ones, bit for bit, and decodes them in
another way.
"""

from __future__ import annotations

from torch import Tensor, nn

from vqtok.errors import UsageError
from vqtok.protocols import LearnedCodebook, Quantized
from vqtok.quantizers.rvq import Rvq, kept_stages

HELD = ("encoder", "quantizer")
"""Parts of a tokenizer that the stage "decoder" holds still."""


def freeze(model: nn.Module) -> None:
    """Put a tokenizer in training mode, but hold encoder and quantizer still.

    Call it wherever ``model.train()`` would be called: after every measurement, too. Parameters of
    encoder and quantizer take no gradient, so that none is computed for latents either, and both
    are in evaluation mode: moving averages stand still, no entry is revived. Where the quantizer
    drops stages while it trains, the decoder still sees such shorter stacks, drawn from the
    quantizer's ``generator``.

    Args:
        model: A tokenizer with ``encoder``, ``quantizer`` and ``decoder``.

    Raises:
        UsageError: the codebook was never filled.
    """
    model.train()
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
