"""What the Hugging Face Hub reads of a model card: the YAML at its head."""

from __future__ import annotations

import re
from typing import Any

import yaml

from raysys.config import CORPORA
from raysys.report.export import percent
from raysys.results import RunResult
from raysys.results.scores import Interval

_LANGUAGES: dict[str, str] = {name: corpus.language for name, corpus in CORPORA.items() if corpus.language}
"""Of the corpora whose language is known; a table's is not."""
_TASKS = {"both": "audio-classification", "audio": "audio-classification", "text": "text-classification"}


def front_matter(results: RunResult) -> str:
    """The card's metadata, between its lines '---'.

    No licence is among them: it follows from those of corpus and encoders, which are not known here.
    """
    corpus = results.corpus
    task, dataset = _TASKS[results.modalities], _identifier(corpus.title)
    tested = "test part as given" if results.given else "test parts of all folds"
    known = {"language": _LANGUAGES[corpus.name]} if corpus.name in _LANGUAGES else {}
    values = known | {
        "library_name": "raysys",
        "pipeline_tag": task,
        "tags": ["speech-emotion-recognition"],
        "datasets": [dataset],
        "model-index": [
            {
                "name": f"Speech emotion model: {_line(corpus.title)}",
                "results": [
                    {
                        "task": {"type": task, "name": "speech emotion recognition"},
                        "dataset": {"type": dataset, "name": _line(corpus.title), "split": tested},
                        "metrics": _metrics(results),
                    }
                ],
            }
        ],
    }
    # PyYAML breaks long lines, which is allowed but hard to read.
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)


def _metrics(results: RunResult) -> list[dict[str, Any]]:
    """Scores of the procedure; each name says so, since the Hub shows it beside the model."""
    pooled = results.pooled
    protocol = results.procedure + results.selected

    def metric(kind: str, title: str, value: float, interval: Interval | None = None) -> dict[str, Any]:
        args: dict[str, Any] = {"protocol": protocol, "utterances": pooled.n}
        name = f"{title}, {protocol}, of the procedure and not of this model"
        if interval is not None:
            args["interval_95"] = [round(end, 4) for end in interval]
            name += f"; 95 % interval {percent(interval[0])} to {percent(interval[1])}"
        return {"type": kind, "name": name, "value": round(value, 4), "args": args}

    return [
        metric("recall", "UA (mean class recall)", pooled.ua, pooled.ua_ci95),
        metric("accuracy", "WA (accuracy)", pooled.wa, pooled.wa_ci95),
        metric("f1", "macro F1", pooled.macro_f1),
    ]


def _identifier(title: str) -> str:
    """A corpus's title as the Hub writes names."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "corpus"


def _line(text: str) -> str:
    return " ".join(text.split())
