"""The report as a page that a person opens: one HTML file with everything in it, and nothing that runs.

It is written beside `report.json` and says the same in words and pictures. Texts from the dataset are
escaped, and a policy in the head forbids the browser to fetch or run anything, whatever they hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.data.page_figures import (
    SPLITS,
    in_order,
    lengths,
    talk,
    what_was_read,
    what_was_written,
)
from shared.data.page_style import STYLE
from shared.data.page_words import coded, duration, percent, prose, size, text
from shared.data.pictures import Share, legend, share_bar, short
from shared.data.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.data.report import FoundProblem, RefusedRow, Report, ShownRow

PAGE_FILE: Final = "report.html"

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(report: Report) -> str:
    """The whole page."""
    title = _title(report)
    sections = "\n".join(filter(None, _sections(report, title)))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)} &ndash; data report</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{sections}
</main>
</body>
</html>
"""


def _sections(report: Report, title: str) -> Iterator[str]:
    yield _header(report, title)
    yield _problems(report.problems)
    yield _tiles(report)
    yield _where_rows_went(report)
    yield _refused(report)
    yield lengths(report)
    yield talk(report)
    yield what_was_written(report)
    yield what_was_read(report)
    yield _examples(report.examples)
    yield _footer(report)


def _title(report: Report) -> str:
    names = [name for _, given in in_order(report.inputs) for name in given.names]
    match len(names):
        case 0:
            return "Nothing was read"
        case 1:
            return names[0]
    return f"{names[0]} and {len(names) - 1} more"


def _header(report: Report, title: str) -> str:
    state, word = ("bad", "Rejected") if report.problems else ("good", "Fit to train on")
    return (
        f'<header><p class="kicker">Data report<span class="chip {state}">{word}</span></p>'
        f"<h1>{text(title)}</h1></header>"
    )


def _problems(problems: Sequence[FoundProblem]) -> str:
    if not problems:
        return ""
    items = "".join(
        f'<li><span class="place">{text(problem.place)}</span><br>{coded(problem.reason)}.'
        f' <span class="mend">{prose(problem.mend)}</span></li>'
        for problem in problems
    )
    return (
        '<section class="problems"><h2>Why it was rejected</h2>'
        f'<ol class="problems">{items}</ol></section>'
    )


def _tiles(report: Report) -> str:
    train = report.splits["train"]
    tiles = [
        (
            f"{train.rows:,}",
            f"row{'s' if train.rows != 1 else ''} to train on, of {report.rows_read:,} read",
        ),
        (
            f"{report.rows_dropped:,}",
            f"rows refused ({percent(report.rows_dropped, report.rows_sampled)})",
        ),
        (short(train.trained_tokens), "tokens to train on in one epoch, by estimate"),
    ]
    if train.truncated is not None:
        share = percent(train.truncated, train.rows)
        tiles.append(
            (f"{train.truncated:,}", f"training rows cut at max_seq_length ({share})"),
        )
    read = size(sum(given.bytes for given in report.inputs.values()))
    tiles.append((read, f"read in {duration(report.seconds)}"))
    inner = "".join(
        f'<div class="tile"><b>{figure}</b><span>{text(words)}</span></div>'
        for figure, words in tiles
    )
    return f'<div class="tiles">{inner}</div>'


def _where_rows_went(report: Report) -> str:
    skipped = sum(given.not_selected for given in report.inputs.values())
    shares = [
        *(Share(split, report.splits[split].rows, split) for split in SPLITS),
        Share("refused", report.rows_dropped, "dropped"),
        Share("not in the sample", skipped, "rest"),
    ]
    bar = share_bar(shares, "Where the rows went")
    if not bar:
        return ""
    said = "Each row that was read went to one of these."
    if carved := [split for split in SPLITS if split not in report.inputs]:
        said += f" The dataset names no {' and no '.join(carved)} split: a share of train became"
        said += " each of them." if len(carved) > 1 else " it."
    if not report.complete:
        said += " Reading stopped early, since nearly everything was refused."
    return (
        f'<section><h2>Where the rows went</h2><p class="soft">{said}</p>{bar}'
        f"{legend(shares)}</section>"
    )


def _refused(report: Report) -> str:
    if not report.dropped:
        return ""
    most = max(report.dropped.values())
    parts = "".join(
        _reason(Reason(code), count, most, report.refused.get(code, ()))
        for code, count in report.dropped.items()
    )
    return (
        '<section><h2>Refused rows, by reason</h2><p class="soft">Every one is listed in'
        f" <code>dropped.jsonl</code>, with file, line and reason.</p>{parts}</section>"
    )


def _reason(reason: Reason, count: int, most: int, first: Sequence[RefusedRow]) -> str:
    rows = "".join(
        f'<li><span class="place">{text(row.place)}</span> &ndash; {text(row.detail)}</li>'
        for row in first
    )
    meaning = coded(reason.meaning[:1].upper() + reason.meaning[1:])
    return (
        f'<div class="reason"><div class="head"><span>{meaning} <code class="soft">{reason.value}'
        f'</code></span><span class="count">{count:,}</span></div>'
        f'<svg role="img" aria-label="{count:,} rows" width="100%" height="8">'
        f'<rect class="dropped" width="{max(100 * count / most, 0.5):.2f}%" height="8" rx="4"/></svg>'
        f'<p class="soft">{prose(reason.mend)}</p>'
        f"<details><summary>The first of them</summary><ul>{rows}</ul></details></div>"
    )


def _examples(rows: Sequence[ShownRow]) -> str:
    talks = []
    for row in rows:
        said = "".join(
            f'<div class="said {text(message.role)}"><span class="who">{text(message.role)}</span>'
            f'<span class="what" dir="auto">{text(message.content)}</span></div>'
            for message in row.messages
        )
        more = f'<p class="soft more">… and {row.more:,} more messages</p>' if row.more else ""
        talks.append(f'<div class="talk">{said}{more}</div>')
    if not talks:
        return ""
    return (
        '<section><h2>The first examples</h2><p class="soft">As they will be trained on; long texts'
        f" are cut on this page only.</p>{''.join(talks)}</section>"
    )


def _footer(report: Report) -> str:
    chosen = ", ".join(
        f"{name} {value}" for name, value in report.options.items() if value is not None
    )
    return (
        f"<footer><p>Prepared with {text(chosen)}.</p>"
        f"<p>Fingerprint <code>{text(report.fingerprint)}</code>, version {report.version}.</p></footer>"
    )
