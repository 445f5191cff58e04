"""Whether a model with speakers as labels converts voices, and keeps what is said.

    python benchmarks/voices.py recordings/ voices/ --most 30
    vqtok train --data voices/ --preset speech-speaker -o my-speech/
    python benchmarks/conversion.py my-speech/ --voices voices/ --strangers held-out-speech/

Two judges (``speakers.py``) learn who speaks from the files that the model was trained on too, and
are tested on the real clips that its training held out. Each held-out clip, and each clip of
strangers, is encoded once and decoded as every speaker other than its own; the share that a judge
assigns to the target is printed, and by target whom it heard instead. Content: STOI of a conversion
with its source, beside STOI with another source (the next in order); so too for reconstructions,
that is held-out clips decoded as their own speaker. All clips are cut to their first seconds. The
exit status is 1 if the first judge assigns less than five times chance, or no content is kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import speakers
import torch
from torch import Tensor

from vqtok.checkpoints import directory
from vqtok.media import audio
from vqtok.media.items import Place
from vqtok.metrics.audio import stoi
from vqtok.training import recipe as recipes
from vqtok.training.data.files import find_files
from vqtok.training.data.media import checker, split

TIMES_CHANCE = 5.0
"""The bar."""


class Clip(NamedTuple):
    """A recording."""

    name: str
    speaker: int | None
    """Number of its label; None: a stranger."""
    samples: Tensor
    """(L,) float32 at 24 kHz."""


class Converted(NamedTuple):
    """A clip, decoded as a speaker."""

    source: int
    """Number of the clip."""
    target: int
    heard: dict[str, int]
    """Judge → the speaker that it heard."""
    stoi: float
    stoi_other: float
    """With another clip."""


def main() -> int:
    """Parse, measure, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", help="name or directory, trained with labels")
    parser.add_argument("--voices", type=Path, required=True, help="what it was trained on")
    parser.add_argument("--strangers", type=Path, help="folder of sp_* files of other speakers")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each clip that is converted")
    parser.add_argument("--steps", type=int, default=400, help="of the judges' training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there")
    chosen = parser.parse_args()
    place = directory.resolve(chosen.model)
    model: Any = directory.load(place)
    names = model.labels.names
    training, sources = clips_of(place, chosen.voices, names)
    judges = {
        name: speakers.train(
            [speakers.hear(each.samples) for each in training],
            [each.speaker or 0 for each in training],
            level=name == "judge",
            steps=chosen.steps,
            seed=chosen.seed,
        )
        for name in ("judge", "strict judge")
    }
    sources = [cut(each, chosen.seconds) for each in sources + strangers_of(chosen.strangers)]
    real = {
        name: mean([verdict(judge, each) == each.speaker for each in sources if known(each)])
        for name, judge in judges.items()
    }
    found = [each for at in range(len(sources)) for each in convert(model, sources, at, judges)]
    print(
        f"{chosen.model}: two judges learned {len(training)} of its training clips, in "
        f"{chosen.steps} steps of 32 crops of 2 s;\n{len(sources)} other clips, at most "
        f"{chosen.seconds:g} s of each, encoded once and decoded as every speaker"
    )
    results = figures(found, sources, names, real)
    show(results, names)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    return 0 if results["passed"] else 1


def clips_of(place: Path, voices: Path, names: Sequence[str]) -> tuple[list[Clip], list[Clip]]:
    """Clips that the model was trained on, and those that its training held out.

    Raises:
        SystemExit: the folders are not the model's labels.
    """
    said = json.loads((place / "training.json").read_text(encoding="utf-8"))
    plan = recipes.parse(said["recipe"]).train
    files = find_files([str(voices)], kind="audio").files
    if files.names != tuple(names):
        raise SystemExit(f"{voices}: speakers {files.names}, the model has {names}")
    parts = split(
        files,
        share=plan.holdout,
        seed=plan.seed,
        check=checker("audio", rate=speakers.HZ),
        enough=plan.holdout_items,
    )
    training, held_out = (
        [
            Clip(Path(str(place)).name, int(label), samples_of(place))
            for place, label in zip(part, part.labels(), strict=True)
        ]
        for part in (parts.training, parts.held_out)
    )
    return training, held_out


def strangers_of(folder: Path | None) -> list[Clip]:
    """Speech of a folder, by name."""
    found = sorted(folder.glob("sp_*")) if folder is not None else []
    return [Clip(path.name, None, samples_of(path)) for path in found]


def samples_of(place: Place) -> Tensor:
    """(L,) at 24 kHz, channels mixed."""
    return torch.from_numpy(audio.read(Path(str(place)), rate=speakers.HZ, mono=True)[0][0])


def cut(clip: Clip, seconds: float) -> Clip:
    """The first seconds of it."""
    return clip._replace(samples=clip.samples[: round(seconds * speakers.HZ)])


def known(clip: Clip) -> bool:
    """Whether the model knows its speaker."""
    return clip.speaker is not None


def verdict(judge: speakers.Judge, clip: Clip) -> int:
    """Whom a judge hears in it."""
    return speakers.verdict(judge, speakers.hear(clip.samples))


def convert(
    model: Any, sources: Sequence[Clip], at: int, judges: dict[str, speakers.Judge]
) -> list[Converted]:
    """Decode one clip as every speaker, judge what comes out, compare it."""
    x, other = sources[at].samples, sources[(at + 1) % len(sources)].samples
    codes = model.encode(x[None, None])
    found = []
    for target in range(len(model.labels.names)):
        y = model.decode(codes, label=target)[0, 0]
        spectrum = speakers.hear(y)
        heard = {name: speakers.verdict(judge, spectrum) for name, judge in judges.items()}
        found.append(Converted(at, target, heard, agreement(x, y), agreement(other, y)))
    return found


def agreement(x: Tensor, y: Tensor) -> float:
    """STOI over what both have."""
    length = min(len(x), len(y))
    return float(stoi(x[None, :length], y[None, :length], rate=speakers.HZ))


def figures(
    found: Sequence[Converted],
    sources: Sequence[Clip],
    names: Sequence[str],
    real: dict[str, float],
) -> dict[str, Any]:
    """All that is printed and written."""
    apart = [each for each in found if sources[each.source].speaker != each.target]
    own = [each for each in found if sources[each.source].speaker == each.target]
    groups = {
        "held-out clips": [each for each in apart if known(sources[each.source])],
        "strangers": [each for each in apart if not known(sources[each.source])],
        "all conversions": apart,
        "reconstructions": own,
    }
    rows = {name: row(group) for name, group in groups.items() if group}
    share, margin = rows["all conversions"]["judge"], rows["all conversions"]["margin"]
    confusion = {
        name: dict(Counter(names[each.heard["judge"]] for each in apart if each.target == number))
        for number, name in enumerate(names)
    }
    chance = 1.0 / len(names)
    return {
        "chance": chance,
        "confusion": confusion,
        "passed": share >= TIMES_CHANCE * chance and margin > 0.0,
        "real": real,
        "real_clips": sum(known(each) for each in sources),
        "rows": rows,
        "times_chance": share / chance,
    }


def row(group: Sequence[Converted]) -> dict[str, float]:
    """Means over conversions; STOI where it is defined."""
    pairs = [(each.stoi, each.stoi_other) for each in group]
    pairs = [(a, b) for a, b in pairs if a == a and b == b]  # NaN: nearly silent
    said, other = mean([a for a, _ in pairs]), mean([b for _, b in pairs])
    shares = {
        name: mean([each.heard[name] == each.target for each in group])
        for name in ("judge", "strict judge")
    }
    return {**shares, "stoi": said, "other": other, "margin": said - other, "count": len(group)}


def mean(values: Sequence[float]) -> float:
    """0 of none."""
    return statistics.fmean(values) if values else 0.0


def show(results: dict[str, Any], names: Sequence[str]) -> None:
    """Print the tables."""
    print(f"{len(names)} speakers, chance {results['chance']:.1%}; real held-out clips")
    for name, share in results["real"].items():
        print(f"  {name}: {share:.1%} of {results['real_clips']} right")
    print(f"\n{'taken for the target by':<20} {'judge':>7} {'strict':>7}   {'STOI':>6} ", end="")
    print(f"{'other':>6} {'margin':>7} {'clips':>6}")
    for name, each in results["rows"].items():
        print(
            f"{name:<20} {each['judge']:>7.1%} {each['strict judge']:>7.1%}   {each['stoi']:>6.3f} "
            f"{each['other']:>6.3f} {each['margin']:>7.3f} {each['count']:>6}"
        )
    print(f"\n{'as':<10} heard as, by the judge")
    for name, heard in results["confusion"].items():
        counts = sorted(heard.items(), key=lambda item: (-item[1], item[0]))
        print(f"{name:<10} " + ", ".join(f"{who} {count}" for who, count in counts))
    print(f"\n{results['times_chance']:.2f} times chance; the bar is {TIMES_CHANCE:g}")


if __name__ == "__main__":
    sys.exit(main())
