"""``vqtok sample``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqtok.cli import options
from vqtok.cli.console import Console, Progress, is_terminal
from vqtok.errors import UsageError

if TYPE_CHECKING:
    from vqtok.pipeline.sample import Sampled
    from vqtok.pipeline.sample_plan import SamplePlan

Prior = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME",
        autocompletion=options.complete_model,
        show_default=False,
        help="Prior, by name or directory; default: prior-cifar10.",
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="Picture (a grid of all samples), recording, .safetensors or .npy for codes; a "
        "directory or a template with {index} {class} for a file each; - for standard output.",
    ),
]
Count = Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, help="How many samples.")]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        "--speaker",
        metavar="NAME",
        help="Class or speaker, several in turn; default: all in turn, as vqtok info lists them.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Other samples.")]
Temperature = Annotated[
    float,
    typer.Option("--temperature", metavar="T", help="Below 1 more likely, above 1 more varied."),
]
TopK = Annotated[
    int | None,
    typer.Option("--top-k", metavar="K", help="Choose among the K likeliest codes."),
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", metavar="P", help="Choose among the likeliest codes of probability P."),
]
Guidance = Annotated[
    float,
    typer.Option("--guidance", metavar="G", help="Above 1: more of the class, less variety."),
]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        "--prompt",
        metavar="FILE",
        help="Codes, picture or recording that every sample begins with.",
    ),
]
Keep = Annotated[
    int | None,
    typer.Option(
        "--keep",
        metavar="N",
        min=1,
        help="Rows or frames of codes that are kept of it; default: half of a picture, all of a "
        "recording.",
    ),
]
Size = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", help="Of pictures; default: as the prior was trained."),
]
Seconds = Annotated[
    float | None,
    typer.Option("--seconds", metavar="T", help="Of audio; default: as the prior was trained."),
]
TokenizerName = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="NAME",
        autocompletion=options.complete_model,
        help="Decodes the samples; default: the one whose fingerprint the prior carries.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help="png, wav, npy …; default: by the suffix of -o."),
]
Columns = Annotated[
    int | None, typer.Option("--columns", metavar="N", min=1, help="Pictures in a row of the grid.")
]
Reject = Annotated[
    str | None,
    typer.Option(
        "--reject",
        metavar="NAME",
        autocompletion=options.complete_model,
        help="Classifier: of several candidates the one most of its class becomes a sample.",
    ),
]
Candidates = Annotated[
    int | None,
    typer.Option("--candidates", metavar="N", min=2, help="For each sample; default: 4."),
]
Batch = Annotated[
    int,
    typer.Option("--batch", metavar="N", min=1, help="Samples at a time, of no effect on them."),
]

CANDIDATES = 4
"""For each sample, if a classifier chooses."""


def sample(
    output: Output,
    model: Prior = None,
    count: Count = 1,
    classes: Classes = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = None,
    guidance: Guidance = 1.0,
    prompt: PromptFile = None,
    keep: Keep = None,
    size: Size = None,
    seconds: Seconds = None,
    tokenizer: TokenizerName = None,
    reject: Reject = None,
    candidates: Candidates = None,
    format: Format = None,
    columns: Columns = None,
    batch: Batch = 32,
    force: options.Force = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
) -> None:
    """Make new images, recordings or codes with a prior.

    The same command makes the same samples; sample number i is the same however many are made.

    \b
    Examples:
      vqtok sample -m my-prior -n 16 --class airplane -o grid.png
      vqtok sample -m my-voice --prompt hello.wav --seconds 5 -o on.wav
    """  # noqa: D301
    from vqtok.pipeline import prior_models, sample_plan

    console = Console(quiet=quiet, verbose=verbose, as_json=as_json, progress=not no_progress)
    info, learned = prior_models.describe(model)
    names = sample_plan.spread(info.classes, classes or (), count)
    plan = sample_plan.plan(
        output,
        modality=info.spec.modality,
        count=count,
        classes=names,
        format=format,
        force=force,
    )
    extent = sample_plan.extent_of(info.spec, learned.extent, size=size, seconds=seconds)
    _check(plan, as_json=as_json, keep=keep, prompt=prompt, columns=columns)
    reads = None
    judge = None if reject is None else prior_models.judge_of(info, reject)
    if candidates is not None and judge is None:
        raise UsageError("--candidates", "who chooses?", hint="--reject CLASSIFIER")
    if plan.kind != "codes" or tokenizer is not None or judge is not None:
        reads = prior_models.tokenizer_of(info, learned, tokenizer)
    console.note("loading torch")
    from vqtok.pipeline import sample as pipeline

    with console.progress(count, "sampled", unit="samples") as progress:
        progress.stage("starting")
        models = prior_models.Loaded(
            info,
            learned,
            reads,
            judge=judge,
            device=device,
            threads=threads,
            on_load=lambda found: console.note(f"loading {found.name} from {found.path}"),
        )
        chosen = pipeline.SampleOptions(
            count=count,
            extent=extent,
            classes=names,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            guidance=guidance,
            seed=seed,
            batch=batch,
            candidates=1 if judge is None else candidates or CANDIDATES,
            columns=columns,
            prompt=None if prompt is None else models.prompt(prompt, extent, keep=keep),
        )
        progress.stage("")
        _run(console, pipeline.run(models, plan, chosen, on_progress=_shown(progress)))


def _run(console: Console, results: Iterator[Sampled]) -> None:
    """Print what was written, each file once."""
    last: Path | None = None
    with closing(results):  # type: ignore[type-var]  # a generator
        for each in results:
            if console.as_json:
                console.json(each.to_json())
            elif each.target is not None and each.target != last and not console.quiet:
                console.result(str(each.target))
            last = each.target


def _shown(progress: Progress) -> Callable[[float], None]:
    return lambda done: progress.goto(int(done))


def _check(
    plan: SamplePlan,
    *,
    as_json: bool,
    keep: int | None,
    prompt: Path | None,
    columns: int | None,
) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        UsageError: it cannot.
    """
    if keep is not None and prompt is None:
        raise UsageError("--keep", "of what?", hint="--prompt FILE")
    if prompt is not None and not prompt.is_file():
        raise UsageError(f"--prompt {prompt}", "no such file")
    if columns is not None and not plan.is_grid:
        raise UsageError("--columns", "only a grid has columns", hint="-o grid.png")
    if plan.targets[0] is None:
        if as_json:
            raise UsageError("--json", "standard output carries the result itself", hint="-o FILE")
        if is_terminal(sys.stdout):
            raise UsageError("standard output is a terminal, not for binary data", hint="-o FILE")
