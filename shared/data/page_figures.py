"""The part of the report's page that shows what the examples are like: lengths, turns, tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.data.page_words import percent, size, text
from shared.data.pictures import Share, histogram, legend, share_bar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shared.data.report import InputReport, Report, SplitReport

SPLITS = ("train", "validation", "test")

#: A dataset may have thousands of files; a page need not name them all.
_MOST_SOURCES = 50
_ROLE_COLOURS = {"system": "test", "user": "train", "assistant": "validation", "tool": "beyond"}


def in_order(inputs: Mapping[str, InputReport]) -> list[tuple[str, InputReport]]:
    """What was read by split, as people list them: train first, though it is read last."""
    return [(split, inputs[split]) for split in SPLITS if split in inputs]


def lengths(report: Report) -> str:
    """A histogram of tokens for each split, all over the same range; empty without examples."""
    filled = {split: report.splits[split] for split in SPLITS if report.splits[split].rows}
    if not filled:
        return ""
    bins = {split: _bins(counts.histogram) for split, counts in filled.items()}
    within = (min(map(min, bins.values())), max(map(max, bins.values())))
    limit = report.options.get("max_seq_length")
    pictures = []
    for split, counts in filled.items():
        picture = histogram(
            bins[split],
            within=within,
            unit="tokens",
            label=f"Examples of {split} by estimated tokens",
            colour=split,
            limit=limit if isinstance(limit, int) and limit > 0 else None,
        )
        examples = f"{counts.rows:,} example{'s' if counts.rows != 1 else ''}"
        pictures.append(f"<h3>{split.capitalize()}, {examples}</h3>{_spread(counts)}{picture}")
    return (
        '<section><h2>Length in tokens</h2><p class="soft">Estimated from the text alone: a quarter'
        " of its bytes, and four for each message. The model&rsquo;s own tokenizer counts a little"
        f" differently. Bars to the right span wider ranges.</p>{''.join(pictures)}</section>"
    )


def talk(report: Report) -> str:
    """Turns, roles and characters of all splits together; empty without examples."""
    whole = report.splits["train"] + report.splits["validation"] + report.splits["test"]
    if not whole.rows:
        return ""
    turns = histogram(
        _bins(whole.turns_histogram),
        unit="messages",
        label="Examples by their number of messages",
        colour="train",
    )
    characters = histogram(
        _bins(whole.characters_histogram),
        unit="characters",
        label="Examples by characters of content",
        colour="train",
    )
    roles = [Share(role, count, _ROLE_COLOURS[role]) for role, count in whole.roles.items()]
    return (
        '<div class="pair"><section><h2>Messages in an example</h2>'
        f'<p class="soft">{whole.turns / whole.rows:.1f} on average; {whole.turns:,} in all.</p>'
        f"{turns}{share_bar(roles, 'Messages by role')}{legend(roles)}</section>"
        "<section><h2>Characters in an example</h2>"
        f'<p class="soft">{whole.characters // whole.rows:,} on average; {whole.characters:,} in'
        f" all.</p>{characters}</section></div>"
    )


def what_was_written(report: Report) -> str:
    """A table of the splits' files."""
    rows = [
        (
            split,
            f"{counts.rows:,}",
            f"{counts.turns:,}",
            f"{counts.characters:,}",
            f"{counts.tokens:,}",
            f"{counts.longest:,}",
            "&ndash;" if counts.truncated is None else f"{counts.truncated:,}",
            f"{counts.trimmed:,}",
            f"{counts.with_tools:,}",
            size(counts.bytes),
        )
        for split, counts in report.splits.items()
    ]
    head = (
        "rows",
        "messages",
        "characters",
        "tokens",
        "longest",
        "cut",
        "trimmed",
        "tools",
        "size",
    )
    return (
        '<section><h2>What was written</h2><p class="soft">Longest: its tokens. Cut: longer than'
        " max_seq_length. Trimmed: the last messages had no answer and were left out. Tools: rows"
        f" that give tools.</p>{_table(head, rows)}</section>"
    )


def what_was_read(report: Report) -> str:
    """A table of the sources by split."""
    rows = [
        (
            split,
            f"{given.rows:,}",
            f"{sum(given.dropped.values()):,}",
            f"{given.not_selected:,}",
            f"{given.blank:,}",
            size(given.bytes),
        )
        for split, given in in_order(report.inputs)
    ]
    head = ("rows", "refused", "not in the sample", "blank lines", "size")
    sources = [source for _, given in in_order(report.inputs) for source in given.sources]
    named = "".join(
        f'<li><span class="place">{text(source)}</span></li>' for source in sources[:_MOST_SOURCES]
    )
    more = len(sources) - _MOST_SOURCES
    if more > 0:
        named += f"<li>and {more:,} more, which <code>report.json</code> names</li>"
    return (
        f"<section><h2>What was read</h2>{_table(head, rows)}<details><summary>Sources, with the"
        f" version of each</summary><ul>{named}</ul></details></section>"
    )


def _spread(counts: SplitReport) -> str:
    said = (
        f"Half have at most {_quantile(counts.histogram, 0.5):,} tokens,"
        f" 95 of 100 at most {_quantile(counts.histogram, 0.95):,};"
        f" the longest has {counts.longest:,}."
    )
    if counts.truncated:
        rows = f"{counts.truncated:,} of them are" if counts.truncated > 1 else "One of them is"
        lost = percent(counts.cut_tokens, counts.tokens)
        said += f" {rows} cut, which loses {counts.cut_tokens:,} tokens ({lost})."
    return f'<p class="soft">{said}</p>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col" class="number">{name}</th>' for name in head)
    lines = "".join(
        f'<tr><th scope="row">{text(name)}</th>'
        + "".join(f'<td class="number">{cell}</td>' for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _bins(counts: Mapping[str, int]) -> dict[int, int]:
    return {int(bound): count for bound, count in counts.items()}


def _quantile(counts: Mapping[str, int], share: float) -> int:
    """The upper bound of the bin up to which so large a share of the examples lies."""
    needed, seen = share * sum(counts.values()), 0
    for bound, count in counts.items():
        seen += count
        if seen >= needed:
            return int(bound)
    return 0
