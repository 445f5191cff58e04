"""``vqtok sample``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqtok.cli import options
from vqtok.cli.console import Console, check_stdout
from vqtok.errors import UsageError
from vqtok.protocols import check_choice

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import Learned, ModelInfo
    from vqtok.pipeline.sample import Sampled, SampleOptions
    from vqtok.pipeline.sample_plan import SamplePlan
    from vqtok.protocols import Prompt


LARGEST_SCALE = 64
"""Times that pictures are enlarged at most."""

MOST_SAMPLES = 1_000_000
MOST_CANDIDATES = 10_000

CANDIDATES = 4
"""For each sample, if a classifier chooses."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Flags of ``vqtok sample``."""

    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="Picture (a grid of all samples), recording, .safetensors or .npy for codes; a "
            "directory or a template with {index} {class} for a file each; - for standard output.",
        ),
    ]
    model: Annotated[
        str | None,
        options.names_model(
            *("-m", "--model"),
            help="Prior, or autoencoder with quantizers/gaussian, by name or directory; default: "
            "prior-cifar10.",
        ),
    ] = None
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many samples.")] = 1
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            "--speaker",
            metavar="NAME",
            help="Class or speaker, several in turn; default: all in turn, as vqtok info lists "
            "them.",
        ),
    ] = None
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Other samples.")] = 0
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", metavar="T", help="Below 1 more likely, above 1 more varied."
        ),
    ] = 1.0
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", metavar="K", help="Choose among the K likeliest codes."),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p", metavar="P", help="Choose among the likeliest codes of probability P."
        ),
    ] = None
    guidance: Annotated[
        float,
        typer.Option("--guidance", metavar="G", help="Above 1: more of the class, less variety."),
    ] = 1.0
    prompt: Annotated[
        Path | None,
        typer.Option(
            "--prompt",
            metavar="FILE",
            help="Codes, picture or recording that every sample begins with.",
        ),
    ] = None
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="N",
            min=1,
            help="Rows or frames of codes that are kept of it; default: half of a picture, all of "
            "a recording.",
        ),
    ] = None
    size: Annotated[
        str | None,
        typer.Option(
            "--size", metavar="WxH", help="Of pictures; default: as the prior was trained."
        ),
    ] = None
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="T", help="Of audio; default: as the prior was trained."),
    ] = None
    tokenizer: Annotated[
        str | None,
        options.names_model(
            "--tokenizer",
            help="Decodes the samples; default: the one whose fingerprint the prior carries.",
        ),
    ] = None
    reject: Annotated[
        str | None,
        options.names_model(
            "--reject",
            help="Classifier: of several candidates the one most of its class becomes a sample.",
        ),
    ] = None
    candidates: Annotated[
        int | None,
        typer.Option("--candidates", metavar="N", min=2, help="For each sample; default: 4."),
    ] = None
    format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="png, wav, npy …; default: by the suffix of -o."
        ),
    ] = None
    columns: Annotated[
        int | None,
        typer.Option("--columns", metavar="N", min=1, help="Pictures in a row of the grid."),
    ] = None
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale",
            metavar="N",
            min=1,
            help="Enlarge pictures N times; default: a grid as its names need it, else 1.",
        ),
    ] = None
    names: Annotated[
        bool,
        typer.Option("--names/--no-names", help="Write classes under the pictures of a grid."),
    ] = True
    batch: Annotated[
        int,
        typer.Option(
            "--batch", metavar="N", min=1, help="Samples at a time, of no effect on them."
        ),
    ] = 32
    force: options.Force = False
    dry_run: options.DryRun = False
    machine: options.Machine
    messages: options.ProgressMessages


def sample(chosen: Choices) -> None:
    """Make new images, recordings or codes with a prior, or with a variational autoencoder.

    The same command makes the same samples; sample number i is the same however many are made.

    \b
    Examples:
      vqtok sample -m my-prior --count 16 --class airplane -o grid.png
      vqtok sample -m my-voice --prompt hello.wav --seconds 5 -o on.wav
    """  # noqa: D301
    from vqtok.pipeline import latent_models, prior_models

    console = chosen.messages.console()
    vae = latent_models.find(chosen.model)
    if vae is None:
        _sample_codes(console, chosen, *prior_models.describe(chosen.model))
    else:
        _sample_latents(console, chosen, vae)


def _sample_codes(console: Console, chosen: Choices, info: ModelInfo, learned: Learned) -> None:
    """Sample from a prior of codes."""
    from vqtok.pipeline import prior_models

    plan, names = _planned(chosen, info, info.classes)
    extent = _extent(chosen, plan, info, learned.extent)
    classifier = None if chosen.reject is None else prior_models.classifier_of(info, chosen.reject)
    reads = None
    if plan.kind != "codes" or chosen.tokenizer is not None or classifier is not None:
        reads = prior_models.tokenizer_of(info, learned, chosen.tokenizer)
    if chosen.dry_run:
        _show(console, plan, names, chosen.count)
        return
    console.note("loading torch")
    from vqtok.pipeline import sample as pipeline

    with console.progress(chosen.count, "sampled", unit="samples") as progress:
        progress.stage("starting")
        models = prior_models.Loaded(
            info,
            learned,
            reads,
            classifier=classifier,
            device=chosen.machine.device,
            threads=chosen.machine.threads,
            on_load=lambda found: console.note(f"loading {found.name} from {found.path}"),
        )
        prompt = None
        if chosen.prompt is not None:
            prompt = models.prompt(chosen.prompt, extent, keep=chosen.keep)
        settings = _settings(chosen, extent, names, prompt)
        if classifier is not None:
            settings = replace(settings, candidates=chosen.candidates or CANDIDATES)
        progress.stage("")
        results = pipeline.run(
            models, plan, settings, on_progress=lambda done: progress.goto(int(done))
        )
        _print(console, results)


def _sample_latents(console: Console, chosen: Choices, info: ModelInfo) -> None:
    """Sample latents of N(0, I), which a variational autoencoder decodes."""
    from vqtok.pipeline import latent_models

    plan, names = _planned(chosen, info, latent_models.labels_of(info))
    latent_models.check(info, plan, _only_codes(chosen))
    extent = _extent(chosen, plan, info, latent_models.usual_extent(info))
    if chosen.dry_run:
        _show(console, plan, names, chosen.count)
        return
    console.note("loading torch")
    from vqtok.pipeline import sample as pipeline

    with console.progress(chosen.count, "sampled", unit="samples") as progress:
        console.note(f"loading {info.name} from {info.path}")
        settings = _settings(chosen, extent, names)
        drawings = latent_models.drawings(
            info,
            settings,
            device=chosen.machine.device,
            threads=chosen.machine.threads,
            on_progress=lambda done: progress.goto(int(done)),
        )
        _print(console, pipeline.write(drawings, plan, settings, spec=info.spec))


def _planned(
    chosen: Choices, info: ModelInfo, classes: Sequence[str]
) -> tuple[SamplePlan, tuple[str, ...]]:
    """Resolve what is written, and the class of each sample."""
    from vqtok.pipeline import sample_plan

    _check_numbers(chosen)
    names = sample_plan.spread(classes, chosen.classes or (), chosen.count)
    plan = sample_plan.plan(
        chosen.output,
        modality=info.spec.modality,
        count=chosen.count,
        classes=names,
        format=chosen.format,
        force=chosen.force,
    )
    _check(plan, chosen)
    return plan, names


def _extent(
    chosen: Choices, plan: SamplePlan, info: ModelInfo, usual: tuple[int, ...]
) -> tuple[int, ...]:
    """Resolve what the signals measure.

    Raises:
        UsageError: no size, or more pixels in one picture than are read back.
    """
    from vqtok.media.image import MAX_PIXELS
    from vqtok.pipeline import sample_plan

    extent = sample_plan.extent_of(info.spec, usual, size=chosen.size, seconds=chosen.seconds)
    pictures = chosen.count if plan.is_grid else 1
    pixels = pictures * math.prod(extent) * (chosen.scale or 1) ** 2
    if plan.kind == "image" and pixels > MAX_PIXELS:
        size = "x".join(str(each) for each in extent[::-1])
        what = f"{pictures} of {size}" if pictures > 1 else size
        raise UsageError(
            f"-o {chosen.output}",
            f"a picture of {what} has more than {MAX_PIXELS} pixels",
            hint="-o DIR/" if pictures > 1 else None,
        )
    return extent


def _settings(
    chosen: Choices, extent: tuple[int, ...], names: tuple[str, ...], prompt: Prompt | None = None
) -> SampleOptions:
    from vqtok.pipeline.sample import SampleOptions

    return SampleOptions(
        count=chosen.count,
        extent=extent,
        classes=names,
        temperature=chosen.temperature,
        top_k=chosen.top_k,
        top_p=chosen.top_p,
        guidance=chosen.guidance,
        seed=chosen.seed,
        batch=chosen.batch,
        columns=chosen.columns,
        named=chosen.names,
        scale=chosen.scale,
        prompt=prompt,
    )


def _only_codes(chosen: Choices) -> list[str]:
    """List the flags that are given and that only a prior of codes has a use for."""
    given = {
        "--top-k": chosen.top_k is not None,
        "--top-p": chosen.top_p is not None,
        "--guidance": chosen.guidance != 1.0,
        "--prompt": chosen.prompt is not None,
        "--tokenizer": chosen.tokenizer is not None,
        "--reject": chosen.reject is not None,
    }
    return [flag for flag, is_given in given.items() if is_given]


def _show(console: Console, plan: SamplePlan, names: Sequence[str], count: int) -> None:
    """Print what would be written, a line for each file."""
    whole = len(plan.targets) == 1
    for index, target in enumerate(plan.targets):
        name = names[index] if names and not whole else None
        if console.as_json:
            target_name = None if target is None else str(target)
            console.json({"target": target_name, "samples": count if whole else 1, "class": name})
            continue
        what = f"{count} sample{'' if count == 1 else 's'}" if whole else f"sample {index}"
        console.result(f"{what}{f' of {name}' if name else ''} -> {target or 'stdout'}")


def _print(console: Console, results: Iterator[Sampled]) -> None:
    """Print what was written, each file once."""
    last: Path | None = None
    with closing(results):  # type: ignore[type-var]  # a generator
        for each in results:
            if console.as_json:
                console.json(each.to_json())
            elif each.target is not None and each.target != last and not console.quiet:
                console.path(each.target)
            last = each.target


def _check_numbers(chosen: Choices) -> None:
    """Refuse numbers that no model takes, in a dry run too.

    Raises:
        UsageError: there is one.
    """
    if chosen.count > MOST_SAMPLES:
        raise UsageError(f"--count {chosen.count}", f"more than {MOST_SAMPLES}")
    if chosen.seed >= 2**63:
        raise UsageError(f"--seed {chosen.seed}", "beyond what generators take")
    if chosen.candidates is not None and chosen.candidates > MOST_CANDIDATES:
        raise UsageError(f"--candidates {chosen.candidates}", f"more than {MOST_CANDIDATES}")
    check_choice(
        temperature=chosen.temperature,
        top_k=chosen.top_k,
        top_p=chosen.top_p,
        guidance=chosen.guidance,
    )


def _check(plan: SamplePlan, chosen: Choices) -> None:
    """Refuse flags that contradict each other, before anything is loaded.

    Raises:
        UsageError: they do.
    """
    if chosen.candidates is not None and chosen.reject is None:
        raise UsageError("--candidates", "needs a classifier that chooses", hint="--reject NAME")
    if chosen.keep is not None and chosen.prompt is None:
        raise UsageError("--keep", "needs a prompt", hint="--prompt FILE")
    if chosen.prompt is not None and not chosen.prompt.is_file():
        raise UsageError(f"--prompt {chosen.prompt}", "no such file")
    if chosen.columns is not None and not plan.is_grid:
        raise UsageError("--columns", "only a grid has columns", hint="-o grid.png")
    if chosen.scale is not None and chosen.scale > LARGEST_SCALE:
        raise UsageError(f"--scale {chosen.scale}", f"at most {LARGEST_SCALE}")
    if chosen.scale is not None and plan.kind != "image":
        raise UsageError("--scale", "only pictures are enlarged", hint="-o grid.png")
    check_stdout(plan.targets, as_json=chosen.messages.as_json)
