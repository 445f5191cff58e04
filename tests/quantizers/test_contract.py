"""What ``protocols.Quantizer`` promises, for every file in the folder."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tests.quantizers.conftest import CONTINUOUS, DIM, SMALL, VARIANTS, Made, latents, trained
from vqtok import config
from vqtok.protocols import Config
from vqtok.tokenizers._quantizers import dequantize, quantize

GRIDS = [(7,), (3, 4), (2, 3, 2)]


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.state_dict())


@pytest.mark.parametrize(("name", "settings"), [*VARIANTS, *CONTINUOUS])
def test_a_config_survives_json(name: str, settings: dict[str, Any]) -> None:
    made = config.config_class(f"quantizers/{name}")(**settings)
    assert config.parse(config.dump(made), Config) == made


def test_only_methods_without_codes_are_left_out_here() -> None:
    for name, settings in VARIANTS:
        assert trained(name, settings).codebook_size > 0
    for name, settings in CONTINUOUS:
        assert trained(name, settings).codebook_size == 0


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("training", [False, True])
def test_shapes_follow_the_grid(make: Made, grid: tuple[int, ...], training: bool) -> None:
    module = make().train(training)
    out = module(latents(2, *grid))
    depth = () if module.depth is None else (module.depth,)
    assert out.z_q.shape == (2, DIM, *grid)
    assert out.codes.shape == (2, *depth, *grid)
    assert out.codes.dtype == torch.int64
    assert out.loss.shape == ()
    assert bool(out.loss.isfinite())


@pytest.mark.parametrize("training", [False, True])
def test_the_terms_are_parts_of_the_loss(make: Made, training: bool) -> None:
    out = make().train(training)(latents(3, 4, 4).requires_grad_())
    assert set(out.terms) <= {"commitment", "codebook", "kl", "entropy"}
    assert all(term.shape == () and not term.requires_grad for term in out.terms.values())
    total = torch.stack([out.loss.new_zeros(()), *out.terms.values()]).sum()
    torch.testing.assert_close(total, out.loss.detach(), rtol=1e-6, atol=1e-7)
    assert bool(out.terms) == out.loss.requires_grad


def test_codes_are_in_range(make: Made) -> None:
    module = make().eval()
    codes = module(latents(4, 9, 9) * 10).codes
    assert int(codes.min()) >= 0 and int(codes.max()) < module.codebook_size
    assert codes.unique().numel() > 1


def test_decode_gives_back_z_q_bit_for_bit(make: Made) -> None:
    module = make().eval()
    for grid in GRIDS:
        out = module(latents(3, *grid))
        assert torch.equal(module.decode(out.codes), out.z_q)


def test_decode_takes_codes_of_any_integer_type(make: Made) -> None:
    module = make().eval()
    codes = module(latents(2, 4, 4)).codes
    assert torch.equal(module.decode(codes.to(torch.int32)), module.decode(codes))


@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_z(make: Made, training: bool) -> None:
    module = make().train(training)
    z = latents(2, 3, 3).requires_grad_()
    out = module(z)
    out.z_q.square().sum().backward()
    assert z.grad is not None and bool(z.grad.isfinite().all())
    assert bool((z.grad.flatten(2).abs().sum(dim=(0, 2)) > 0).any())


def test_evaluation_repeats_itself_and_changes_nothing(make: Made) -> None:
    module = make().eval()
    before, generator = state(module), module.generator.get_state()
    first, second = module(latents(3, 4, 4)), module(latents(3, 4, 4))
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(first.z_q, second.z_q)
    after = state(module)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(generator, module.generator.get_state())


def test_a_state_dict_carries_everything_that_codes_depend_on(make: Made) -> None:
    module = make().eval()
    copied = make.fresh().eval()
    copied.load_state_dict(module.state_dict())
    z = latents(3, 4, 4)
    assert torch.equal(copied(z).codes, module(z).codes)
    assert torch.equal(copied(z).z_q, module(z).z_q)


def test_a_state_dict_for_use_needs_no_training_state(make: Made) -> None:
    module = make().eval()
    kept = {key: value for key, value in module.state_dict().items() if "learning." not in key}
    copied = make.fresh().eval()
    copied.load_state_dict(kept)  # strict: nothing else may be missing
    z = latents(3, 4, 4)
    assert torch.equal(copied(z).z_q, module(z).z_q)


def test_a_resumed_run_continues_bit_for_bit(make: Made) -> None:
    module = make()
    resumed = make.fresh()
    resumed.load_state_dict(state(module))
    resumed.generator = torch.Generator()
    resumed.generator.set_state(module.generator.get_state())
    for step in range(5):
        a, b = (each(latents(4, 5, 5, seed=step)) for each in (module, resumed))
        assert torch.equal(a.z_q, b.z_q) and torch.equal(a.codes, b.codes)
        assert torch.equal(a.loss, b.loss)
    one, other = module.state_dict(), resumed.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_resumed_before_the_entries_are_placed_continues_bit_for_bit() -> None:
    settings = SMALL["vq"] | {"warmup": 4}
    module = config.config_class("quantizers/vq")(**settings).build(dim=DIM)
    resumed = config.config_class("quantizers/vq")(**settings).build(dim=DIM)
    module.generator = torch.Generator().manual_seed(3)
    module(latents(4, 5, 5, seed=0))
    resumed.load_state_dict(state(module))
    resumed.generator = torch.Generator()
    resumed.generator.set_state(module.generator.get_state())
    for step in range(1, 8):
        a, b = (each(latents(4, 5, 5, seed=step)) for each in (module, resumed))
        assert torch.equal(a.z_q, b.z_q)
    assert bool(module.initialised) and bool(resumed.initialised)


def test_autocast_changes_nothing(make: Made) -> None:
    module = make().eval()
    z = latents(3, 4, 4)
    plain = module(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = quantize(module, z)
        decoded = dequantize(module, cast.codes)
    assert torch.equal(cast.codes, plain.codes)
    assert torch.equal(cast.z_q, plain.z_q)
    assert torch.equal(decoded, plain.z_q)
    assert cast.z_q.dtype == cast.loss.dtype == torch.float32


def test_autocast_does_not_change_training(make: Made) -> None:
    plain, cast = make(), make()
    for step in range(3):
        z = latents(4, 5, 5, seed=step)
        expected = plain(z)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = quantize(cast, z)
        assert torch.equal(found.z_q, expected.z_q) and torch.equal(found.loss, expected.loss)


def test_half_precision_latents_are_quantized_in_float32(make: Made) -> None:
    module = make().eval()
    z = latents(3, 4, 4).bfloat16()
    found = quantize(module, z)
    assert torch.equal(found.codes, module(z.float()).codes)
    assert found.z_q.dtype == torch.float32


def test_codes_do_not_depend_on_batch_mates(make: Made) -> None:
    module = make().eval()
    z = latents(9, 5, 3)
    together = module(z)
    for i in range(9):
        alone = module(z[i : i + 1])
        assert torch.equal(alone.codes[0], together.codes[i])
        assert torch.equal(alone.z_q[0], together.z_q[i])


def test_codes_do_not_depend_on_neighbours_in_the_grid(make: Made) -> None:
    module = make().eval()
    z = latents(2, 11)
    whole = module(z).codes
    for start, stop in [(0, 4), (3, 11), (10, 11)]:
        assert torch.equal(module(z[..., start:stop]).codes, whole[..., start:stop])


def test_codes_do_not_depend_on_memory_layout(make: Made) -> None:
    module = make().eval()
    z = latents(2, 4, 6)
    strided = z.contiguous(memory_format=torch.channels_last)
    assert torch.equal(module(strided).codes, module(z).codes)


def test_inference_mode_gives_the_same_codes_and_leaves_the_module_trainable(make: Made) -> None:
    module = make().eval()
    z = latents(2, 4, 4)
    with torch.inference_mode():
        inferred = module(z).codes
    assert torch.equal(inferred, module(z).codes)
    z = z.requires_grad_()
    out = module.train()(z)
    (out.z_q.sum() + out.loss).backward()
    assert z.grad is not None
