"""The page of an evaluation, in the looks of a run's report."""

from __future__ import annotations

from raysys.evaluation.scores import Evaluation
from raysys.report.page import POLICY, environment, style
from raysys.report.tables import SYNTHETIC


def page(evaluation: Evaluation) -> str:
    """The whole document; it needs no other file."""
    return (
        environment()
        .get_template("evaluation.html.j2")
        .render(
            evaluation=evaluation,
            first=evaluation.conditions[0],
            policy=POLICY,
            style=style(),
            warning=SYNTHETIC if evaluation.corpus.name == "demo" else "",
        )
    )
