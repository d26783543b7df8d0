"""The section with the most confident mistakes, to listen to."""

from __future__ import annotations

from collections.abc import Mapping

from raysys.report.charts import Chart
from raysys.report.markup import Html, Section, join, paragraph, percent, text
from raysys.report.player import player
from raysys.report.reading import Run
from raysys.report.scores import Mistake, surest_mistakes


def mistakes(run: Run, charts: Mapping[str, Chart]) -> Section:
    """The most confident mistakes, with transcripts and audio."""
    found = surest_mistakes(run.manifest, run.predictions)
    players = [player(mistake.utterance) for mistake in found]
    cards = "".join(_card(mistake, sound) for mistake, sound in zip(found, players, strict=True))
    body = [
        paragraph("Wrong predictions with the highest probabilities." if found else "No prediction was wrong."),
        Html(f'<ol class="cards">{cards}</ol>'),
    ]
    if any(players) and run.manifest.corpus != "demo":
        body.append(
            paragraph(
                "This page contains audio and transcripts: check the licence of the corpus before sharing.", "small"
            )
        )
    return Section(anchor="mistakes", title="Most confident mistakes", body=join(body if found else body[:1]))


def _card(mistake: Mistake, sound: Html | None) -> str:
    utterance = mistake.utterance
    spoken = paragraph("no transcript" if utterance.transcript is None else f"“{utterance.transcript}”", "transcript")
    return (
        f"<li><p><b>{text(utterance.emotion)}</b> ({percent(mistake.true_probability)}&nbsp;%) taken for "
        f"<b>{text(mistake.predicted)}</b> ({percent(mistake.probability)}&nbsp;%)</p>{spoken}{sound or ''}"
        f'<p class="small">{text(utterance.utterance_id)}, speaker {text(utterance.speaker)}, fold {mistake.fold}</p>'
        f"</li>"
    )
