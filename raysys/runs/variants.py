"""The variants of an ablation. Imports neither Ray nor torch, so that a wrong flag is told at once."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from raysys.config import AUDIO_EFFECTS, ExperimentConfig
from raysys.errors import ConfigError
from raysys.runs.points import Point, refuse_equal, refuse_repeated, varied, with_seed

FULL = "full"
WITHOUT_TASKS = "no CPC, no ECL"
BOTH_VIEWS = "cross-entropy on both views"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A configuration that differs from the full model's in its flags alone."""

    name: str
    flags: tuple[str, ...]


def ablations(config: ExperimentConfig) -> tuple[Variant, ...]:
    """The paper's figure 7 (full; no CPC and no ECL; no augmentation; no CCB1; no CCB2) and three of ours.

    'no CPC, no ECL' is cross-entropy on the clean view alone, whatever the preset does with the augmented view; between
    it and the full model is 'cross-entropy on both views', whose augmented view no other term reads.
    'no augmentation' leaves every task on: the second view is the clean utterance again, with other dropout. Last are
    one modality alone.
    """
    no_tasks = ("--loss.alpha", "0", "--loss.beta", "0", "--loss.gamma", "0")
    no_effects = tuple(f"--augment.no-{name.replace('_', '-')}" for name in AUDIO_EFFECTS)
    no_effects += tuple(word for flag in config.augment.folders for word in (flag, "None"))
    no_effects += ("--augment.gain", "0") if config.augment.gain else ()
    unmixed = ("--augment.mixup", "0") if config.augment.mixup else ()
    variants = [
        Variant(name=FULL, flags=()),
        Variant(name=WITHOUT_TASKS, flags=(*no_tasks, "--augment.no-classify-augmented")),
        Variant(name=BOTH_VIEWS, flags=(*no_tasks, "--augment.classify-augmented")),
        Variant(name="no augmentation", flags=(*no_effects, "--augment.cbca", "none", *unmixed)),
        Variant(name="no CCB1", flags=("--model.no-ccb1",)),
        Variant(name="no CCB2", flags=("--model.no-ccb2",)),
    ]
    alone = [
        Variant(name="audio only", flags=("--corpus.modalities", "audio")),
        # Of text alone there is only something to mix where its encoder is frozen.
        Variant(
            name="text only", flags=("--corpus.modalities", "text", *(() if config.keeps_text_features else unmixed))
        ),
    ]
    # Where the corpus has one modality anyway, the full model is that one already.
    return (*variants, *alone) if config.corpus.resolved_modalities == "both" else tuple(variants)


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


def chosen(config: ExperimentConfig, own: Sequence[str], only: Sequence[str]) -> tuple[Variant, ...]:
    """The variants of an ablation.

    Args:
        own: the user's, as typed, in addition to `ablations`.
        only: names of those to train; none: all. The full model, which all are compared with, and 'no CPC, no ECL',
            whose features the report shows beside it, are always trained.

    Raises:
        ConfigError: a variant that does not parse, or a name that is none of theirs.
    """
    variants = (*ablations(config), *parse_variants(own))
    names = [variant.name for variant in variants]
    if unknown := [name for name in only if name not in names]:
        raise ConfigError(f"--only {unknown[0]!r}: no such variant; there are {', '.join(map(repr, names))}.")
    return tuple(v for v in variants if not only or v.name in (FULL, WITHOUT_TASKS, *only))


def variant_points(config: ExperimentConfig, variants: Sequence[Variant], seed: int) -> tuple[Point, ...]:
    """The variants' configurations for one seed.

    Raises:
        ConfigError: two of one name or of one configuration, a flag that does not exist or may not vary.
    """
    counts = Counter(variant.name for variant in variants)
    if twice := sorted(name for name, n in counts.items() if n > 1):
        raise ConfigError(f"--variant {twice[0]}: there are {counts[twice[0]]} variants of this name; rename one.")
    seeded = with_seed(config, seed)
    points = [
        Point(
            name=f"{variant.name}, seed {seed}",
            config=varied(seeded, variant.flags, f"--variant {variant.name!r}"),
        )
        for variant in variants
    ]
    refuse_equal(points)
    return tuple(points)


def points_by_seed(
    config: ExperimentConfig, variants: Sequence[Variant], seeds: Sequence[int]
) -> dict[int, tuple[Point, ...]]:
    """`variant_points` of each seed.

    Raises:
        ConfigError: no seed, or one twice; see `variant_points`.
    """
    refuse_repeated(seeds)
    return {seed: variant_points(config, variants, seed) for seed in seeds}
