"""Saving and loading: the same numbers, whole versions, nothing executed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from tests.programs import environment
from vqtok import atomic
from vqtok.checkpoints import directory, weights
from vqtok.config import members, parse
from vqtok.errors import CheckpointError, UsageError
from vqtok.protocols import Config

Build = Callable[..., Any]


def picture() -> torch.Tensor:
    return torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_loaded_model_makes_the_codes_of_the_saved_one(saved: Path, tiny: Build):
    before, after = tiny(), directory.load(saved)
    codes = before.encode(picture())
    found = after.encode(picture())
    assert torch.equal(found.levels[0], codes.levels[0])
    assert torch.equal(after.decode(found), before.decode(codes))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", members("quantizers"))
def test_every_quantizer_comes_back_from_disk(models: Path, tiny: Build, name: str, half: bool):
    inner = {"quantizer": {"type": "quantizers/vq"}} if name == "grouped" else {}
    before = tiny(quantizer={"type": f"quantizers/{name}", **inner})
    passed(before)  # whatever it caches must not survive the loading
    directory.save(models / "m", before, half=half)
    if half:
        for tensor in before.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    after = directory.load("m")
    expected = passed(before)
    assert torch.equal(passed(after), expected)
    assert torch.equal(passed(directory.load("m")), expected)


def passed(model: Any) -> torch.Tensor:
    """The codes of a picture; of a model without codes its reconstruction."""
    if model.spec.levels:
        codes: torch.Tensor = model.encode(picture()).levels[0]
        return codes
    with torch.no_grad():
        pixels: torch.Tensor = model(picture()).x
    return pixels


def test_a_codec_comes_back_from_disk(models: Path, tiny: Build):
    data = {
        "type": "tokenizers/codec",
        "rate": 800,
        "frame": 16,
        "hop": 8,
        "width": 12,
        "latent": 4,
    }
    rvq = {"type": "quantizers/rvq", "codebook_size": 30, "depth": 3}
    before = parse({**data, "quantizer": rvq}, Config).build().eval()
    directory.save(models / "m", before)
    after = directory.load("m")
    x = torch.randn(1, 1, 99, generator=torch.Generator().manual_seed(2)) * 0.3
    assert torch.equal(after.encode(x).levels[0], before.encode(x).levels[0])
    assert after.spec.rate == 800


def test_a_loaded_model_is_ready_to_use(saved: Path):
    model: Any = directory.load("tiny")
    assert model.name == "tiny"
    assert not model.training
    assert all(not each.requires_grad for each in model.parameters())
    assert all(each.dtype == torch.float32 for each in model.parameters())
    assert model.spec.fingerprint == directory.fingerprint(saved)
    assert model.encode(picture()).spec.fingerprint == model.spec.fingerprint


def test_a_model_from_its_own_folder_has_that_folders_name(
    saved: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(saved)
    assert directory.load(".").name == "tiny"


def test_saving_a_loaded_model_changes_no_byte(saved: Path, models: Path):
    directory.save(models / "again", directory.load(saved))
    for name in ("config.json", "model.safetensors"):
        assert (models / "again" / name).read_bytes() == (saved / name).read_bytes()
    assert directory.fingerprint(models / "again") == directory.fingerprint(saved)


def test_what_only_training_needs_is_not_stored(saved: Path, tiny: Build):
    stored, state = set(load_file(saved / "model.safetensors")), set(tiny().state_dict())
    left_out = {name for name in state if "learning" in name.split(".")}
    assert left_out
    assert stored == state - left_out


def test_a_directory_that_holds_training_state_too_loads(saved: Path, tiny: Build):
    from safetensors.torch import save_file

    state = {name: tensor.clone() for name, tensor in tiny().state_dict().items()}
    save_file(state, saved / "model.safetensors")
    assert torch.equal(
        directory.load(saved).encode(picture()).levels[0], tiny().encode(picture()).levels[0]
    )


def test_half_precision_halves_the_file_and_loads_as_the_rounded_numbers(
    saved: Path, models: Path, tiny: Build
):
    directory.save(models / "half", tiny(), half=True)
    with safe_open(models / "half" / "model.safetensors", framework="pt") as stored:
        kinds = {stored.get_slice(name).get_dtype() for name in stored.keys()}  # noqa: SIM118
    assert kinds <= {"F16", "BOOL", "I64"}
    model: Any = directory.load("half")
    for name, tensor in model.state_dict().items():
        original = tiny().state_dict()[name]
        if tensor.is_floating_point() and "learning" not in name.split("."):
            assert torch.equal(tensor, original.half().float())


def test_loading_leaves_the_callers_random_numbers_alone(saved: Path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    directory.load(saved)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_not_saved(models: Path, tiny: Build, value: float):
    model = tiny()
    next(model.parameters()).data.view(-1)[0] = value
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        directory.save(models / "bad", model)
    assert list(models.iterdir()) == []


def test_weights_too_large_for_half_precision_are_not_saved(models: Path, tiny: Build):
    model = tiny()
    next(model.parameters()).data.view(-1)[0] = 1e6
    directory.save(models / "full", model)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        directory.save(models / "half", model, half=True)


def test_infinite_metrics_leave_training_json_valid(models: Path, tiny: Build):
    directory.save(models / "m", tiny(), training={"psnr": float("inf"), "loss": float("nan")})
    text = (models / "m" / "training.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"psnr": None, "loss": None}


def test_saving_again_keeps_the_other_files(saved: Path, tiny: Build):
    (saved / "previews").mkdir()
    (saved / "previews" / "1.png").write_text("picture")
    with (saved / "log.jsonl").open("a") as log:
        for changed in (tiny(1), tiny(1, latent=6)):
            log.write("line\n")
            log.flush()
            directory.save(saved, changed)
    assert (saved / "previews" / "1.png").read_text() == "picture"
    assert (saved / "log.jsonl").read_text() == "line\n" * 2
    assert (saved / "README.md").read_text() == "# tiny\n"
    assert directory.load(saved).config == tiny(1, latent=6).config
    assert [path.name for path in saved.parent.iterdir()] == ["tiny"]


def test_another_models_training_record_does_not_stay(saved: Path, tiny: Build):
    directory.save(saved, tiny(latent=6))
    assert directory.describe(saved).training == {}


@pytest.mark.parametrize("changes", [{}, {"latent": 6}])
def test_an_error_at_any_step_of_saving_leaves_one_whole_version(
    models: Path, tiny: Build, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
):
    old, new = tiny(0), tiny(1, **changes)
    codes = [torch.as_tensor(model.encode(picture()).levels[0]) for model in (old, new)]
    for step in range(30):
        target = models / f"at{step}"
        directory.save(target, old, training={}, card="old")
        done = _save_until(step, target, new, monkeypatch)
        found = directory.load(target).encode(picture()).levels[0]
        assert any(torch.equal(found, each) for each in codes)
        assert not list(models.rglob(".*"))
        if done:
            assert torch.equal(found, codes[1])
            return
    pytest.fail("saving takes more steps than were tried")


def _save_until(step: int, target: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Save, with the disk full at the given rename or sync; True if it was never reached."""
    calls = [0]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any) -> Any:
            calls[0] += 1
            if calls[0] == step + 1:
                raise OSError(28, os.strerror(28))
            return real(*args)

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(atomic, "_sync", counted(atomic._sync))
        try:
            directory.save(target, model, training={"new": 1}, card="new")
        except CheckpointError as error:
            assert "No space left on device" in str(error)
            return False
    return True


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_model(saved: Path, tmp_path: Path):
    """A process that saves two models in turn is killed after a while."""
    program = textwrap.dedent("""
        import sys, torch; from pathlib import Path; from vqtok.checkpoints import directory
        target = Path(sys.argv[1]); model = directory.load(target)
        other = directory.load(target)
        for each in other.parameters(): each.data.mul_(-1)
        print(flush=True)
        while True:
            directory.save(target, other, training={"n": 2}); directory.save(target, model)
    """)
    codes = []
    for _ in range(2):
        model: Any = directory.load(saved)
        if codes:
            for each in model.parameters():
                each.data.mul_(-1)
        codes.append(model.encode(picture()).levels[0])
    for wait in (0.003, 0.03):
        command = [sys.executable, "-c", program, str(saved)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as child:
            assert child.stdout is not None
            child.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(wait)
            child.send_signal(signal.SIGKILL)
        found = directory.load(saved).encode(picture()).levels[0]
        assert any(torch.equal(found, each) for each in codes)


def test_an_unwritable_place_is_one_line(tmp_path: Path, tiny: Build):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write: "):
        directory.save(tmp_path / "file" / "model", tiny())


def test_a_disk_that_fills_up_while_weights_are_written_is_one_line(
    saved: Path, tiny: Build, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    for changes in ({}, {"latent": 6}):
        with pytest.raises(CheckpointError, match=r"cannot write: .*No space left") as told:
            directory.save(saved, tiny(1, **changes))
        assert str(told.value).startswith(f"{saved}: ")
    assert list(saved.parent.iterdir()) == [saved]
    assert torch.equal(
        directory.load(saved).encode(picture()).levels[0], tiny().encode(picture()).levels[0]
    )


def test_nothing_in_a_model_file_is_executed(tmp_path: Path, saved: Path):
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    for name in ("model.pt", "model.ckpt", "model.bin", "model.safetensors"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps({"weights": Bomb()}))
        with pytest.raises(
            CheckpointError, match=r"refused: it would run posix\.system|neither safetensors"
        ):
            directory.load(str(path))
    (saved / "model.safetensors").write_bytes(pickle.dumps({"weights": Bomb()}))
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        directory.load(saved)
    assert not (tmp_path / "ran").exists()


def test_an_unknown_model_is_a_usage_error(models: Path):
    with pytest.raises(UsageError):
        directory.load("nothing")


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([3e38] * 9, True),  # whose sum is not
        ([], True),
        ([1.0, float("nan")], False),
        ([float("inf"), float("-inf")], False),
        ([float("inf")], False),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_means_every_value_whatever_their_sum(
    values: list[float], finite: bool, dtype: torch.dtype
):
    assert weights._is_finite(torch.tensor(values, dtype=dtype)) is finite
