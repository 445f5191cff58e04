"""What is written where is settled first, and no result can destroy another or an input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import CodesError, MediaError, UsageError
from vqtok.media.plan import Kind, Plan, plan


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def planned(*inputs: str, **options: Any) -> Plan:
    defaults: dict[str, Any] = {"output": None, "kinds": ("image", "audio"), "suffix": ".npy"}
    return plan(inputs, **{**defaults, **options})


def pairs(made: Plan) -> list[tuple[str, str]]:
    return [(str(job.source or "-"), str(job.target or "-")) for job in made.jobs]


def refused(*inputs: str, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        planned(*inputs, **options)
    return caught.value


def test_without_o_results_go_beside_their_inputs() -> None:
    touch("a.png", "d/b.wav")
    assert pairs(planned("a.png", "d/b.wav")) == [("a.png", "a.npy"), ("d/b.wav", "d/b.npy")]


def test_stdin_without_o_goes_to_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert pairs(planned("-", kinds=("image",))) == [("-", "-")]
        assert pairs(planned("-", kinds=("image",), output="o.npy")) == [("-", "o.npy")]
        assert pairs(planned("-", kinds=("image",), output="o/")) == [("-", "o/stdin.npy")]


@pytest.mark.parametrize(
    ("head", "kind"), [(b"\x89PNG\r\n\x1a\n", "image"), (b"RIFF....WAVEfmt ", "audio")]
)
def test_kind_of_stdin_is_told_by_its_bytes_and_none_is_lost(head: bytes, kind: str) -> None:
    # A process of its own: only there is stdin a pipe.
    code = (
        "import sys; from vqtok.media.plan import plan;"
        "made = plan(['-'], output=None, kinds=('image', 'audio'), suffix='.npy');"
        "print(made.jobs[0].kind, len(sys.stdin.buffer.read()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=head + bytes(1000),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.split() == [kind.encode(), str(len(head) + 1000).encode()]


def test_one_file_and_o_file() -> None:
    touch("a.png")
    assert pairs(planned("a.png", output="x/y.npy")) == [("a.png", "x/y.npy")]


@pytest.mark.parametrize("make_first", [True, False])
def test_o_is_a_directory_if_it_exists_or_ends_in_a_slash(make_first: bool) -> None:
    touch("a.png")
    if make_first:
        Path("out").mkdir()
    assert pairs(planned("a.png", output="out" if make_first else "out/")) == [
        ("a.png", "out/a.npy")
    ]


def test_a_directory_argument_keeps_its_tree_below_o() -> None:
    touch("in/b.png", "in/deep/a.wav", "c.jpg")
    made = planned("in", "c.jpg", output="out")
    assert pairs(made) == [
        ("in/b.png", "out/b.npy"),
        ("in/deep/a.wav", "out/deep/a.npy"),
        ("c.jpg", "out/c.npy"),
    ]
    assert [job.kind for job in made.jobs] == ["image", "audio", "image"]


def test_a_directory_with_one_file_still_means_a_directory_of_results() -> None:
    touch("in/a.png")
    assert pairs(planned("in", output="out")) == [("in/a.png", "out/a.npy")]


def test_many_inputs_do_not_go_into_one_file() -> None:
    touch("a.png", "b.png", "file")
    assert "DIR/{stem}.npy" in str(refused("a.png", "b.png", output="x.npy").hint)
    refused("a.png", "b.png", output="file")
    refused("a.png", "b.png", output="-")


def test_template_fields() -> None:
    touch("d/a.x.png", "d/b.wav")
    made = planned("d/a.x.png", "d/b.wav", output="o/{parent}-{stem}-{name}-{index:03d}.npy")
    assert [target for _, target in pairs(made)] == [
        "o/d-a.x-a.x.png-000.npy",
        "o/d-b-b.wav-001.npy",
    ]


@pytest.mark.parametrize("template", ["{nope}", "{}", "{stem", "{stem:d}", "{stem.x}", "{index!q}"])
def test_bad_templates_list_the_fields(template: str) -> None:
    touch("a.png")
    assert "{stem}" in str(refused("a.png", output=template).hint)


def test_two_inputs_with_one_target_are_both_named() -> None:
    touch("a.png", "d/a.png")
    error = refused("a.png", "d/a.png", output="out/")
    assert "out/a.npy: both a.png and d/a.png would be written there" in str(error)
    assert pairs(planned("a.png", "d/a.png", output=str(error.hint)[4:-1]))


def test_inputs_that_differ_in_their_suffix_keep_it() -> None:
    touch("d/a.png", "d/a.jpg", "d/b.png", "d/c/a.jpg", "d/a.jpg.bmp")
    assert [target for _, target in pairs(planned("d", output="out/"))] == [
        "out/a.jpg.npy",
        "out/a.jpg.bmp.npy",
        "out/a.png.npy",
        "out/b.npy",
        "out/c/a.npy",
    ]
    assert [target for _, target in pairs(planned("d/a.png", "d/a.jpg"))] == [
        "d/a.png.npy",
        "d/a.jpg.npy",
    ]


def test_the_same_file_named_twice_is_done_once() -> None:
    touch("d/a.png")
    assert len(planned("d/a.png", "./d/a.png", "d", str(Path("d/a.png").absolute())).jobs) == 1


def test_existing_targets_are_refused_together() -> None:
    touch("a.png", "a.npy", "b.png", "b.npy", "c.png")
    error = refused("a.png", "b.png", "c.png")
    assert str(error) == "a.npy, b.npy: already exist" and "--skip-existing" in str(error.hint)
    assert len(planned("a.png", "b.png", "c.png", force=True).jobs) == 3
    made = planned("a.png", "b.png", "c.png", skip_existing=True)
    assert pairs(made) == [("c.png", "c.npy")]
    assert made.skipped == (Path("a.npy"), Path("b.npy"))
    refused("a.png", force=True, skip_existing=True)


def test_existing_targets_are_found_in_large_directories_too() -> None:
    names = [f"in/{i:04d}.png" for i in range(300)]
    touch(*names, "out/0007.npy", "out/0123.npy")
    made = planned("in", output="out", skip_existing=True)
    assert made.skipped == (Path("out/0007.npy"), Path("out/0123.npy"))
    assert len(made.jobs) == 298


def test_an_input_is_never_overwritten_even_with_force() -> None:
    touch("a.npy", "b.npy")
    Path("link.npy").symlink_to("a.npy")
    options = {"kinds": ("codes",), "force": True}
    assert "is an input" in str(refused("a.npy", output="a.npy", **options))
    assert "is an input" in str(refused("a.npy", output="link.npy", **options))
    # The target of one input is another input.
    suffix = lambda source, kind: ".npy" if source == Path("b.png") else ".x"  # noqa: E731
    Path("b.png").write_bytes(b"x")
    both = {"kinds": ("image", "codes"), "suffix": suffix, "force": True}
    assert "is an input" in str(refused("b.png", "b.npy", **both))


def test_a_directory_in_the_targets_place_is_refused() -> None:
    touch("a.png", "a.npy/x")
    assert "is a directory" in str(refused("a.png", force=True))


def test_targets_below_a_file_are_refused() -> None:
    touch("a.png", "file")
    assert "file is not a directory" in str(refused("a.png", output="file/x/y.npy"))


def test_unwritable_directory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("a.png")
    monkeypatch.setattr(os, "access", lambda *args, **kwargs: False)  # root may write anywhere
    assert "permission denied" in str(refused("a.png"))


def test_devices_are_there_to_be_written_to() -> None:
    touch("a.png")
    assert pairs(planned("a.png", output="/dev/null")) == [("a.png", "/dev/null")]


def test_a_failing_suffix_fails_one_input_only() -> None:
    touch("a.npy", "b.npy")

    def suffix(source: Path | None, kind: Kind) -> str:
        if source == Path("a.npy"):
            raise CodesError("a.npy: truncated")
        return ".recon.png"

    made = planned("a.npy", "b.npy", kinds=("codes",), suffix=suffix)
    assert pairs(made) == [("b.npy", "b.recon.png")]
    assert [(name, str(error)) for name, error in made.failures] == [("a.npy", "a.npy: truncated")]


def test_missing_inputs_fail_and_the_others_go_on() -> None:
    touch("a.png")
    made = planned("none.png", "a.png")
    assert pairs(made) == [("a.png", "a.npy")]
    ((name, error),) = made.failures
    assert name == "none.png" and isinstance(error, MediaError)


NAMES = st.sampled_from(["a", "b", "a.png", "b.png", "a.jpg", "a.wav", "d/a.png", "d/b.wav", "d"])
OUTPUTS = st.sampled_from(
    [None, "out/", "out", "o.npy", "{stem}.npy", "{name}.npy", "o/{index}.npy", "{parent}.npy", "-"]
)


@given(inputs=st.lists(NAMES, min_size=1, max_size=5), output=OUTPUTS, force=st.booleans())
def test_no_two_jobs_share_a_target_and_none_is_an_input(
    inputs: Sequence[str], output: str | None, force: bool
) -> None:
    touch("a", "b", "a.png", "b.png", "a.jpg", "a.wav", "d/a.png", "d/b.wav")
    try:
        made = planned(*inputs, output=output, force=force)
    except UsageError:
        return
    targets = [job.target.absolute() for job in made.jobs if job.target is not None]
    sources = [job.source.absolute() for job in made.jobs if job.source is not None]
    assert len(set(targets)) == len(targets)
    assert not set(targets) & set(sources)
    assert len(set(sources)) == len(sources)
