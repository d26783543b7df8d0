"""Grid axes and ablation variants, as typed on the command line, to configurations; all errors before any trial."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from raysys.cli import with_flags
from raysys.config import AUDIO_EFFECTS, ExperimentConfig
from raysys.errors import ConfigError
from raysys.orchestrate.groundwork import Point

PAPER_GRID = ("loss.alpha=1,0.1,0.01,0.001", "loss.beta=1,0.1,0.01,0.001")
"""The paper's 4 x 4 grid (METHOD, section 4)."""

FULL = "full"
_FREE_OF_CORPUS = ("modalities", "test_modalities")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A flag, without its dashes, and the values that a grid gives it, as typed."""

    flag: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A configuration that differs from the full model's in its flags alone."""

    name: str
    flags: tuple[str, ...]


def ablations(config: ExperimentConfig) -> tuple[Variant, ...]:
    """The paper's figure 7 (full; no CPC and no ECL; no augmentation; no CCB1; no CCB2) and one modality alone.

    'no augmentation' leaves every task on: the second view is the clean utterance again, with other dropout.
    """
    no_tasks = ("--loss.alpha", "0", "--loss.beta", "0", "--loss.gamma", "0")
    no_effects = tuple(f"--augment.no-{name.replace('_', '-')}" for name in AUDIO_EFFECTS)
    variants = [
        Variant(name=FULL, flags=()),
        Variant(name="no CPC, no ECL", flags=no_tasks),
        Variant(name="no augmentation", flags=(*no_effects, "--augment.cbca", "none")),
        Variant(name="no CCB1", flags=("--model.no-ccb1",)),
        Variant(name="no CCB2", flags=("--model.no-ccb2",)),
    ]
    alone = [
        Variant(name="audio only", flags=("--corpus.modalities", "audio")),
        Variant(name="text only", flags=("--corpus.modalities", "text")),
    ]
    # Where the corpus has one modality anyway, the full model is that one already.
    return (*variants, *alone) if config.corpus.resolved_modalities == "both" else tuple(variants)


def parse_axes(grid: Sequence[str]) -> tuple[Axis, ...]:
    """`axis=v1,v2` strings to axes.

    Raises:
        ConfigError: an axis without a name or values, or one that is given twice.
    """
    axes: list[Axis] = []
    for text in grid:
        flag, equals, listed = text.partition("=")
        values = tuple(value.strip() for value in listed.split(",") if value.strip())
        flag = flag.strip().removeprefix("--").replace("_", "-")
        if not equals or not flag or not values:
            raise ConfigError(f"--grid {text}: expected axis=v1,v2, such as --grid loss.alpha=1,0.1.")
        if twice := sorted(value for value, n in Counter(values).items() if n > 1):
            raise ConfigError(f"--grid {text}: {', '.join(twice)} is there more than once.")
        if flag in {axis.flag for axis in axes}:
            raise ConfigError(f"--grid {text}: the axis {flag} is given twice; put all its values into one.")
        axes.append(Axis(flag=flag, values=values))
    if not axes:
        raise ConfigError("--grid: the grid is empty; give at least one axis=v1,v2.")
    return tuple(axes)


def grid_points(config: ExperimentConfig, axes: Sequence[Axis]) -> tuple[Point, ...]:
    """Every combination of the axes' values; the first axis varies slowest.

    Raises:
        ConfigError: an axis that does not exist or may not vary, a value that it refuses.
    """
    short = [axis.flag.rsplit(".", 1)[-1] for axis in axes]
    names = short if len(set(short)) == len(short) else [axis.flag for axis in axes]
    points: list[Point] = []
    for values in itertools.product(*(axis.values for axis in axes)):
        flags = [part for axis, value in zip(axes, values, strict=True) for part in (f"--{axis.flag}", value)]
        where = "--grid " + " ".join(f"{axis.flag}={value}" for axis, value in zip(axes, values, strict=True))
        name = " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        points.append(Point(name=name, config=_varied(config, flags, where), typed=values))
    _refuse_equal(points)
    return tuple(points)


def parse_variants(variants: Sequence[str]) -> tuple[Variant, ...]:
    """`name=flag,flag` strings to variants; a flag is `--model.pooling mean`, with or without its dashes.

    Raises:
        ConfigError: no name, or no flag.
    """
    parsed: list[Variant] = []
    for text in variants:
        name, equals, listed = text.partition("=")
        parts = [shlex.split(part) for part in listed.split(",") if part.strip()]
        if not equals or not name.strip() or not parts:
            raise ConfigError(
                f"--variant {text!r}: expected name=flag,flag, such as --variant 'mean=--model.pooling mean'."
            )
        flags = [word for first, *rest in parts for word in (f"--{first.removeprefix('--')}", *rest)]
        parsed.append(Variant(name=name.strip(), flags=tuple(flags)))
    return tuple(parsed)


def variant_points(config: ExperimentConfig, variants: Sequence[Variant], seed: int) -> tuple[Point, ...]:
    """The variants' configurations for one seed.

    Raises:
        ConfigError: two of one name or of one configuration, a flag that does not exist or may not vary.
    """
    counts = Counter(variant.name for variant in variants)
    if twice := sorted(name for name, n in counts.items() if n > 1):
        raise ConfigError(f"--variant {twice[0]}: there are {counts[twice[0]]} variants of this name; rename one.")
    seeded = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    points = [
        Point(
            name=f"{variant.name}, seed {seed}",
            config=_varied(seeded, variant.flags, f"--variant {variant.name!r}"),
        )
        for variant in variants
    ]
    _refuse_equal(points)
    return tuple(points)


def _varied(config: ExperimentConfig, flags: Sequence[str], where: str) -> ExperimentConfig:
    """What a point changes must be what is compared: not the corpus, its folds, the seed or the machines."""
    varied = with_flags(config, flags, where)
    same_corpus = dataclasses.replace(varied.corpus, **{name: getattr(config.corpus, name) for name in _FREE_OF_CORPUS})
    fixed = {
        "--corpus (other than --corpus.modalities and --corpus.test-modalities)": same_corpus != config.corpus,
        "--train.seed": varied.train.seed != config.train.seed,
        "--cluster": varied.cluster != config.cluster,
        "--run": varied.run != config.run,
        "--track": varied.track != config.track,
    }
    for what, moved in fixed.items():
        if moved:
            raise ConfigError(
                f"{where}: {what} must be the same in everything that is compared; set it for the whole job."
            )
    return varied


def _refuse_equal(points: Sequence[Point]) -> None:
    seen: dict[str, str] = {}
    for point in points:
        first = seen.setdefault(point.config.learning_hash(), point.name)
        if first != point.name:
            raise ConfigError(f"{first!r} and {point.name!r} are the same configuration: remove one of them.")
