"""What trials and runs found: typed, each written and read in one place.

A trial leaves `result.json` in its folder, a finished run `results.json` in its own.
"""

from raysys.results.fold import MODEL, MODEL_CONFIG, PREDICTIONS, RESULT, FoldResult, FoldRow
from raysys.results.run import RESULTS, CorpusFacts, Provenance, RunResult
from raysys.results.scores import ClassScores, Confusion, Interval, PartScores, PooledScores, Scores, VoteScores, counts
from raysys.results.sweeps import (
    AblationResult,
    Difference,
    FinalModel,
    GridResult,
    MeanOverSeeds,
    OptimisticFold,
    OptimisticScores,
    PointScores,
    SeedScores,
    SeedsResult,
    VariantScores,
)

__all__ = [
    "MODEL",
    "MODEL_CONFIG",
    "PREDICTIONS",
    "RESULT",
    "RESULTS",
    "AblationResult",
    "ClassScores",
    "Confusion",
    "CorpusFacts",
    "Difference",
    "FinalModel",
    "FoldResult",
    "FoldRow",
    "GridResult",
    "Interval",
    "MeanOverSeeds",
    "OptimisticFold",
    "OptimisticScores",
    "PartScores",
    "PointScores",
    "PooledScores",
    "Provenance",
    "RunResult",
    "Scores",
    "SeedScores",
    "SeedsResult",
    "VariantScores",
    "VoteScores",
    "counts",
]
