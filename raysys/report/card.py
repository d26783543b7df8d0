"""The final model's card: what it is, how it was chosen, what is not known about it."""

from __future__ import annotations

import re
from typing import Any

from raysys.report.tables import SYNTHETIC


def model_card(results: dict[str, Any]) -> str:
    """Markdown for the README.md of a final model's folder.

    Args:
        results: of the grid search that chose it.
    """
    grid, pooled, corpus = results["grid"], results["pooled"], results["corpus"]
    final = grid["final"]
    row = next(point for point in grid["points"] if point["name"] == final["point"])
    low, high = (100 * value for value in pooled["ua_ci95"])
    axes = ", ".join(_plain(f"{flag} of {', '.join(values)}") for flag, values in grid["axes"].items())
    classes = ", ".join(_plain(name) for name in results["classes"])
    synthetic = f"\n{SYNTHETIC}\n" if corpus["name"] == "demo" else ""
    return f"""# Speech emotion model

Tells {classes} apart from {_inputs(results["modalities"])}.
{results["parameters"]:,} parameters were trained, with seed {results["seed"]}, on all {corpus["utterances"]} utterances
by {corpus["speakers"]} speakers of the corpus `{corpus["name"]}` (fingerprint `{corpus["fingerprint"]}`).
{synthetic}
## How it was chosen

{_plain(final["point"])}, {final["epochs"]} epochs: of {len(grid["points"])} points ({axes})
the one with the best mean UA over the folds' validation speakers ({100 * row["validation_ua"]:.1f}), and the median
of its best epochs there. No test score was read.

**This model has no test score**: it was trained on everything. The procedure that made it was scored by nested
cross-validation, where each fold chose its own point and epoch on its own validation speakers:
pooled UA {100 * pooled["ua"]:.1f} (95 % interval {low:.1f} to {high:.1f}), WA {100 * pooled["wa"]:.1f},
over {pooled["n"]} test utterances, each scored once.

## Use

```python
from raysys.inference import load_model, read_waveform

model = load_model("model")            # this folder
waveforms = [read_waveform("a.wav")]   # any rate; brought to 16 kHz, mono
{_call(results["modalities"])}
```

Columns are in the order {classes}.

## Limits

It knows the speakers, the language, the recording and the way of acting of its corpus, and nothing else. What a
person expresses is not what they feel; nobody should be judged by it.
"""


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&!])", r"\\\1", " ".join(text.split()))


def _inputs(modalities: str) -> str:
    match modalities:
        case "both":
            return "speech and its transcript (which may be missing)"
        case "audio":
            return "speech alone"
        case _:
            return "the transcript alone"


def _call(modalities: str) -> str:
    match modalities:
        case "both":
            return 'model.probabilities(waveforms, ["so glad to see you"])  # None where there is no transcript'
        case "audio":
            return "model.probabilities(waveforms)"
        case _:
            return 'model.probabilities(transcripts=["so glad to see you"])'
