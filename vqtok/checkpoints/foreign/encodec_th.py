"""EnCodec as its authors publish it: a plain state dict, ``encodec_24khz-d7cc33bc.th``.

There is no config in it: sizes are those of the tensors, and the rate is that of the one published
model of this form, 24 kHz. Files of the language model beside it (``encodec_lm_…``) are another
thing.
"""

from __future__ import annotations

from functools import partial

from vqtok.checkpoints.foreign import _names
from vqtok.checkpoints.foreign._layout import Family, Match
from vqtok.checkpoints.foreign._reading import Found
from vqtok.errors import CheckpointError
from vqtok.tokenizers.published import encodec

ENCODEC = Family(
    "EnCodec `.th`", "files of the encodec package: the 24 kHz model", "`encodec`", "any length"
)
FAMILIES = (ENCODEC,)

RULES = (
    (r"\.(conv|convtr)\.(conv|convtr)\.", ".conv."),
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
)

_TRAINING = r"\._codebook\.(inited|cluster_size|embed_avg)$"


def recognise(found: Found) -> Match | None:
    """See ``_layout``."""
    if not found.has("quantizer.vq.layers.0._codebook.embed", "encoder.model.0.conv.conv.weight_v"):
        return None
    return Match(ENCODEC.name, _sizes(found), partial(_names.of_network, found.tensors, RULES,
                 without=_TRAINING))  # fmt: skip


def _sizes(found: Found) -> encodec.Config:
    """Returns what the shapes tell; dilations leave no trace, and are the published ones."""
    first = found.shape("encoder.model.0.conv.conv.weight_v")
    entries = found.shape("quantizer.vq.layers.0._codebook.embed")
    last = max(_numbers(found, "decoder.model."))
    kernels = [found.shape(f"decoder.model.{i}.convtr.convtr.weight_v") for i in range(last)]
    ratios = tuple(shape[2] // 2 for shape in kernels if shape)
    inner = found.shape("encoder.model.1.block.1.conv.conv.weight_v")
    if first[1] != 1 or not ratios or not inner:
        raise CheckpointError(found.path, f"{ENCODEC.name}: not the mono form of the network")
    return encodec.Config(
        num_quantizers=found.count("quantizer.vq.layers.{}._codebook.embed"),
        hidden_size=entries[1],
        codebook_size=entries[0],
        num_filters=first[0],
        kernel_size=first[2],
        last_kernel_size=found.shape(f"decoder.model.{last}.conv.conv.weight_v")[2],
        upsampling_ratios=ratios,
        residual_kernel_size=inner[2],
        compress=inner[1] // inner[0],
        num_lstm_layers=found.count("decoder.model.1.lstm.weight_ih_l{}"),
        num_residual_layers=_residuals(found),
        use_conv_shortcut=found.has("encoder.model.1.shortcut.conv.conv.weight_v"),
    )


def _numbers(found: Found, prefix: str) -> set[int]:
    return {
        int(n.removeprefix(prefix).split(".")[0]) for n in found.tensors if n.startswith(prefix)
    }


def _residuals(found: Found) -> int:
    """Blocks in a row after the first convolution."""
    count = 0
    while found.has(f"encoder.model.{count + 1}.block.1.conv.conv.weight_v"):
        count += 1
    return count
