"""Small pieces of HTML. Whatever comes from data is escaped here."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import soundfile

from raysys.data.audio import AudioError, decode
from raysys.data.manifest import Utterance

_LONGEST_PLAYER_S = 10.0


def escaped(value: object) -> str:
    return html.escape(str(value))


def percent(share: float | None) -> str:
    return "–" if share is None or share != share else f"{100 * share:.1f}"


def interval(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def signed_interval(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = "") -> str:
    """A table that scrolls in its own box on a narrow screen; columns of words start at the left, numbers end right."""
    worded = [any(any(c.isalpha() for c in str(row[i])) for row in rows) for i in range(len(header))]
    kinds = [' class="word"' if word else "" for word in worded]
    head = "".join(f'<th scope="col"{kind}>{escaped(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escaped(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    named = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return f'<div class="table"><table>{named}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(svg: str, caption: str, alt: str) -> str:
    """A figure whose SVG carries a title for those who do not see it."""
    titled = svg.replace(">", f"><title>{escaped(alt)}</title>", 1)
    return f"<figure>{titled}<figcaption>{escaped(caption)}</figcaption></figure>"


def section(anchor: str, title: str, *parts: str) -> str:
    return f'<section id="{anchor}"><h2>{escaped(title)}</h2>{"".join(parts)}</section>'


def player(utterance: Utterance) -> str:
    """The utterance's sound inside the page, as MP3; nothing for a long one or a file that is not here any more."""
    if (utterance.duration_s or 0.0) > _LONGEST_PLAYER_S:
        return ""
    try:
        waveform_S = decode(utterance)
    except (AudioError, OSError):
        return ""
    sink = io.BytesIO()
    soundfile.write(sink, waveform_S, 16_000, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7)
    data = base64.b64encode(sink.getvalue()).decode()
    return f'<audio controls preload="none" src="data:audio/mpeg;base64,{data}"></audio>'
