"""What the paper reports, as runs of this package. Imports neither Ray nor torch, so that a mistake is told at once.

The paper's numbers come from two corpora. Of IEMOCAP: table 1, figure 3, figures 5 to 7, and a final model; of RAVDESS:
table 2, figure 4, and a final model. A grid search over alpha and beta gives the tables by both protocols, the
confusion matrices and the final model; an ablation of IEMOCAP gives figures 5 to 7.

The ablation changes one thing in the model that was chosen, and the choice is that of the nested protocol: on each
fold, every variant has the grid point that this fold chose on its own validation part. So the full model's trials are
the grid search's own, its score is that of table 1, and no variant has seen a test part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from raysys.config import ExperimentConfig
from raysys.corpora.read import look
from raysys.errors import ConfigError, CorpusError
from raysys.runs.axes import Axis, grid_points, parse_axes
from raysys.runs.points import Point
from raysys.runs.variants import FULL, Variant, ablations, variant_points

PaperCorpus = Literal["iemocap", "ravdess"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One corpus of the paper.

    Attributes:
        config: with the corpus, in the paper's folds.
        points: of the grid.
        variants: of the ablation; empty where the paper has none.
        variant_points: every variant at every grid point, by their names; an ablation trains a few of these.
    """

    corpus: PaperCorpus
    config: ExperimentConfig
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    variants: tuple[Variant, ...]
    variant_points: dict[tuple[str, str], Point]

    def own_variants(self) -> tuple[Variant, ...]:
        """The variants whose trials the grid search has not trained already."""
        return tuple(variant for variant in self.variants if variant.name != FULL)


def paper_parts(
    config: ExperimentConfig, grid: Sequence[str], *, iemocap: str | None, ravdess: str | None
) -> tuple[Part, ...]:
    """The parts of the corpora whose folders are given.

    Args:
        config: of all parts; the paper's five folds take the place of --corpus.folds auto.
        grid: axes as typed.
        iemocap, ravdess: folders as published.

    Raises:
        ConfigError: there is no corpus, or one that is not the paper's; a wrong grid.
        CorpusError: a folder is not there.
    """
    if not (iemocap or ravdess):
        raise ConfigError(
            "--iemocap and --ravdess are both missing. Give the folder of at least one of the paper's two corpora, as "
            "published: --iemocap FOLDER with Session1 ... Session5, --ravdess FOLDER with Actor_01 ... Actor_24."
        )
    if config.corpus.name != "demo":
        raise ConfigError(
            f"--corpus.name {config.corpus.name}: the paper's corpora are given with --iemocap and --ravdess. Leave it "
            f"out; jobs/gridsearch.py and jobs/ablation.py are for other corpora."
        )
    corpora: dict[PaperCorpus, str | None] = {"iemocap": iemocap, "ravdess": ravdess}
    configs = {corpus: _with_corpus(config, corpus, root) for corpus, root in corpora.items() if root}
    axes = parse_axes(grid)
    return tuple(_part(corpus, own, axes) for corpus, own in configs.items())


def _with_corpus(config: ExperimentConfig, corpus: PaperCorpus, root: str) -> ExperimentConfig:
    folds = "paper" if config.corpus.folds == "auto" else config.corpus.folds
    own = dataclasses.replace(config.corpus, name=corpus, root=root, title=None, folds=folds)
    try:
        look(own)
    except CorpusError as error:
        raise CorpusError(str(error).replace("--corpus.root", f"--{corpus}")) from error
    return dataclasses.replace(config, corpus=own)


def _part(corpus: PaperCorpus, config: ExperimentConfig, axes: tuple[Axis, ...]) -> Part:
    points = grid_points(config, axes)
    variants = ablations(config) if corpus == "iemocap" else ()
    return Part(
        corpus=corpus,
        config=config,
        axes=axes,
        points=points,
        variants=variants,
        variant_points={key: value for point in points for key, value in _varied(point, variants).items()},
    )


def _varied(point: Point, variants: Sequence[Variant]) -> dict[tuple[str, str], Point]:
    """The variants at a grid point.

    Raises:
        ConfigError: two of them are the same configuration there.
    """
    try:
        varied = variant_points(point.config, variants, point.config.train.seed)
    except ConfigError as error:
        raise ConfigError(f"--grid, at {point.name}: {error}") from error
    return {
        (variant.name, point.name): dataclasses.replace(own, name=f"{variant.name}, {point.name}")
        for variant, own in zip(variants, varied, strict=True)
    }
