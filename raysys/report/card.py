"""The final model's card: what it is, how it was selected, and its limits."""

from __future__ import annotations

import re

from raysys.report.tables import SYNTHETIC
from raysys.results import RunResult


def model_card(results: RunResult) -> str:
    """Markdown for the README.md of a final model's folder.

    Args:
        results: of the grid search that chose it.
    """
    grid, pooled, corpus = results.grid, results.pooled, results.corpus
    assert grid is not None
    final = grid.final
    assert final is not None
    row = next(point for point in grid.points if point.name == final.point)
    validation = 100 * (row.validation_ua or 0.0)
    low, high = (100 * value for value in pooled.ua_ci95)
    axes = ", ".join(_plain(f"{flag} of {', '.join(values)}") for flag, values in grid.axes.items())
    classes = ", ".join(_plain(name) for name in results.classes)
    synthetic = f"\n{SYNTHETIC}\n" if corpus.name == "demo" else ""
    return f"""# Speech emotion model

Classifies {_inputs(results.modalities)} as {classes}.
{results.parameters:,} parameters were trained, with seed {results.seed}, on all {corpus.utterances} utterances
by {corpus.speakers} speakers of the corpus `{corpus.name}` (fingerprint `{corpus.fingerprint}`).
{synthetic}
## How it was selected

{_plain(final.point)}, {final.epochs} epochs: out of {len(grid.points)} points ({axes}),
the one with the best mean UA over the folds' validation speakers ({validation:.1f}), trained for the
median of its best epochs there. No test scores were used.

**This model has no test score**: it was trained on all data. The procedure that produced it was evaluated by nested
cross-validation, where each fold selected its own point and epoch on its own validation speakers:
pooled UA {100 * pooled.ua:.1f} (95 % interval {low:.1f} to {high:.1f}), WA {100 * pooled.wa:.1f},
over {pooled.n} test utterances, each scored once.

## Use

```python
from raysys.inference import load_model, read_waveform

model = load_model("model")            # this folder
waveforms = [read_waveform("a.wav")]   # any rate; converted to 16 kHz mono
{_call(results.modalities)}
```

Columns are in this order: {classes}.

## Limits

The model has only seen the speakers, language, recording conditions and acting style of its corpus. Expressed emotion
is not felt emotion; do not use it to judge people.
"""


def _plain(text: str) -> str:
    """Escape text so that Markdown shows it literally, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&!])", r"\\\1", " ".join(text.split()))


def _inputs(modalities: str) -> str:
    match modalities:
        case "both":
            return "speech and its transcript (which may be missing)"
        case "audio":
            return "speech only"
        case _:
            return "transcripts only"


def _call(modalities: str) -> str:
    match modalities:
        case "both":
            return 'model.probabilities(waveforms, ["so glad to see you"])  # None if there is no transcript'
        case "audio":
            return "model.probabilities(waveforms)"
        case _:
            return 'model.probabilities(transcripts=["so glad to see you"])'
