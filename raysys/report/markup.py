"""Build HTML from data: everything is escaped unless it is already `Html`."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raysys.report.charts import Chart
from raysys.report.svg import to_svg


class Html(str):
    """Text that is already markup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of the page with a heading; its anchor is unique on the page."""

    anchor: str
    title: str
    body: Html


def text(value: object) -> Html:
    """Escape unless already markup; None becomes a dash."""
    if isinstance(value, Html):
        return value
    return Html("–" if value is None else html.escape(str(value)))


def join(parts: Sequence[str]) -> Html:
    """Join pieces of markup."""
    return Html("\n".join(parts))


def paragraph(value: object, kind: str = "") -> Html:
    marked = f' class="{kind}"' if kind else ""
    return Html(f"<p{marked}>{text(value)}</p>")


def percent(value: float | None) -> str | None:
    """0.752 as 75.2."""
    return None if value is None else f"{100 * value:.1f}"


def interval(ends: Sequence[float] | None) -> str | None:
    """The two ends in per cent."""
    return None if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def table(
    label: str,
    headings: Sequence[object],
    rows: Sequence[Sequence[object]],
    *,
    groups: Mapping[Html, int] | None = None,
    words: Sequence[int] = (),
    summary: int = 0,
) -> Html:
    """A table that scrolls sideways within itself on a narrow screen.

    Args:
        label: description for screen readers.
        headings, rows: cells; the first cell of a row is its heading.
        groups: headings above all columns but the first, each with the number of columns it spans.
        words: text columns besides the first; the rest are numbers, right-aligned.
        summary: number of trailing summary rows.
    """

    def cell(column: int, value: object, opening: str) -> str:
        kind = ' class="word"' if column == 0 or column in words else ""
        return f"<{opening}{kind}>{text(value)}</{opening[:2]}>"

    def line(values: Sequence[object], first: str, others: str) -> str:
        return f"<tr>{''.join(cell(i, v, others if i else first) for i, v in enumerate(values))}</tr>"

    head = line(headings, 'th scope="col"', 'th scope="col"')
    if groups is not None:
        above = "".join(f'<th scope="colgroup" colspan="{n}" class="group">{name}</th>' for name, n in groups.items())
        head = f"<tr><th></th>{above}</tr>{head}"
    lines = [line(row, 'th scope="row"', "td") for row in rows]
    split = len(lines) - summary
    foot = f"<tfoot>{''.join(lines[split:])}</tfoot>" if summary else ""
    return Html(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(label)}"><table>'
        f"<thead>{head}</thead><tbody>{''.join(lines[:split])}</tbody>{foot}</table></div>"
    )


def below(first: object, second: object) -> Html:
    """A cell with two lines, the second smaller; only the first if there is no second."""
    return text(first) if second is None else Html(f"{text(first)}<small>{text(second)}</small>")


def facts(values: Mapping[str, object]) -> Html:
    """A list of names and values."""
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in values.items())
    return Html(f"<dl>{rows}</dl>")


def bullets(values: Sequence[object]) -> Html:
    return Html("<ul>" + "".join(f"<li>{text(value)}</li>" for value in values) + "</ul>")


def folded(title: str, body: Html) -> Html:
    """Collapsed behind a title that opens it."""
    return Html(f"<details><summary>{text(title)}</summary>{body}</details>")


def chart(drawn: Chart) -> Html:
    """A figure with its caption."""
    svg = to_svg(drawn.figure, name=f"figure-{drawn.name}", title=drawn.title, description=drawn.caption)
    caption = f"<b>{text(drawn.title)}</b> {text(drawn.caption)}"
    return Html(f'<figure id="{drawn.name}">{svg}<figcaption>{caption}</figcaption></figure>')


def side_by_side(parts: Sequence[Html]) -> Html:
    """In columns if there is room."""
    return Html(f'<div class="columns">{"".join(parts)}</div>')
