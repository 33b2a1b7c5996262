"""Small pictures as inline SVG: histograms and shares, drawn by hand.

Widths are percentages and heights pixels, so that a picture fills whatever page it stands on while its
letters keep their size. Colours are classes of the page's style sheet (`page_style`), which knows light
and dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PLOT = 150
_TOP = 22
_BOTTOM = 26
#: Letters that fit under a picture on a phone, and how many bins may all be named there.
_LETTERS = 46
_ALL_NAMED = 12
#: Up to this value each number has a bin of its own, so that its name stands under the bar's middle.
_SINGLE = 8
#: A bar that stands for something is never too thin to be seen.
_LEAST_HEIGHT = 2.0
_LEAST_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole: its name, how much it is, and the style sheet's class for its colour."""

    name: str
    count: int
    colour: str


def share_bar(shares: Sequence[Share], label: str) -> str:
    """One bar, cut into the shares of a whole; empty if there is nothing to show.

    Args:
        shares: The parts, from left to right; those of nothing are left out.
        label: What the picture shows, for who cannot see it.
    """
    shown = [share for share in shares if share.count]
    total = sum(share.count for share in shown)
    if not total:
        return ""
    widths = [max(100 * share.count / total, _LEAST_SHARE) for share in shown]
    scale = 100 / sum(widths)
    left, parts = 0.0, []
    for share, width in zip(shown, widths, strict=True):
        told = escape(f"{share.name}: {share.count:,} ({share.count / total:.1%})")
        parts.append(
            f'<rect class="{share.colour}" x="{left:.3f}%" y="0" width="{width * scale:.3f}%"'
            f' height="28"><title>{told}</title></rect>'
        )
        left += width * scale
    gaps = "".join(
        f'<line class="gap" x1="{at:.3f}%" x2="{at:.3f}%" y1="0" y2="28"/>'
        for at in _ends([width * scale for width in widths])
    )
    return (
        f'<svg class="share" role="img" aria-label="{escape(label)}" width="100%" height="28">'
        f"{''.join(parts)}{gaps}</svg>"
    )


def legend(shares: Sequence[Share]) -> str:
    """The shares by name, with what each counts; those of nothing are left out."""
    items = "".join(
        f'<li><span class="dot {share.colour}"></span>{escape(share.name)} <b>{share.count:,}</b></li>'
        for share in shares
        if share.count
    )
    return f'<ul class="legend">{items}</ul>'


def histogram(
    bins: Mapping[int, int],
    *,
    unit: str,
    label: str,
    colour: str,
    within: tuple[int, int] | None = None,
    limit: int | None = None,
) -> str:
    """Bars over bins that grow with their values; empty if there is nothing to show.

    Args:
        bins: How many examples, by the upper bound of each bin as `shared.data.report.bin_of` gives it.
        unit: What the bounds count: `tokens`.
        label: What the picture shows, for who cannot see it.
        colour: The style sheet's class of the bars.
        within: The first and the last bin to show; by default those that hold something.
        limit: A value to draw a line at; what lies beyond it is drawn in another colour.
    """
    if not bins:
        return ""
    bounds = _bounds(*(within or (min(bins), max(bins))))
    highest, width = max(bins.values()), 100 / len(bounds)
    bars = []
    for place, bound in enumerate(bounds):
        count = bins.get(bound, 0)
        if not count:
            continue
        height = max(_PLOT * count / highest, _LEAST_HEIGHT)
        first = _below(bound) + 1
        values = f"{bound:,}" if first == bound else f"{first:,} to {bound:,}"
        told = f"{values} {unit}: {count:,} example{'s' if count != 1 else ''}"
        beyond = limit is not None and first > limit
        bars.append(
            f'<rect class="{"beyond" if beyond else colour}" x="{(place + 0.06) * width:.3f}%"'
            f' y="{_TOP + _PLOT - height:.1f}" width="{0.88 * width:.3f}%" height="{height:.1f}"'
            f' rx="2"><title>{escape(told)}</title></rect>'
        )
    return (
        f'<div class="plot"><svg role="img" aria-label="{escape(label)}" width="100%"'
        f' height="{_TOP + _PLOT + _BOTTOM}">'
        f"{_grid(highest)}{''.join(bars)}{_axis(bounds)}{_limit(limit, bounds)}</svg></div>"
    )


def short(number: int) -> str:
    """A number in a few characters: `950`, `1.5k`, `12M`."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            digits = f"{number / size:.1f}" if number < 10 * size else f"{number // size:,}"
            return digits.removesuffix(".0") + letter
    return str(number)


def _ends(widths: Sequence[float]) -> list[float]:
    """Where one part ends and the next begins."""
    return [sum(widths[: place + 1]) for place in range(len(widths) - 1)]


def _bounds(first: int, last: int) -> list[int]:
    """Every bin from the first to the last, those without examples too."""
    found = [last]
    while found[-1] > first:
        found.append(_below(found[-1]))
    return found[::-1]


def _below(bound: int) -> int:
    """The upper bound of the bin before."""
    shift = (bound - 1).bit_length() - 3
    return bound - 1 if shift <= 0 else bound - (1 << shift)


def _grid(highest: int) -> str:
    """Lines at a half and at the whole of the highest bar, with what they stand for at their left."""
    counts = [highest, highest // 2] if highest > 1 else [highest]
    heights = {count: _TOP + _PLOT * (1 - count / highest) for count in counts}
    return "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text class="faint" x="-8" y="{at + 4:.1f}" text-anchor="end">{short(count)}</text>'
        for count, at in heights.items()
    )


def _axis(bounds: Sequence[int]) -> str:
    """The line under the bars, and the upper bounds of some bins, where those end."""
    floor, width = _TOP + _PLOT, 100 / len(bounds)
    named = list(enumerate(bounds))
    if len(bounds) > _ALL_NAMED:
        named = [(place, bound) for place, bound in named if bound.bit_count() == 1]
    most = _LETTERS // (len(f"{bounds[-1]:,}") + 2)
    texts = []
    for place, bound in named[:: -(-len(named) // most) or 1]:
        at = (place + (0.5 if bound <= _SINGLE else 1)) * width
        anchor = "middle" if at < 95 else "end"  # noqa: PLR2004 - the last one must not stick out
        texts.append(
            f'<text class="faint" x="{at:.3f}%" y="{floor + 17}" text-anchor="{anchor}">'
            f"{bound:,}</text>"
        )
    return f'<line class="axis" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>{"".join(texts)}'


def _limit(limit: int | None, bounds: Sequence[int]) -> str:
    """A line at the limit, if it lies among the bars."""
    if limit is None or not _below(bounds[0]) < limit < bounds[-1]:
        return ""
    place = next(place for place, bound in enumerate(bounds) if bound >= limit)
    lower = _below(bounds[place])
    at = 100 * (place + (limit - lower) / (bounds[place] - lower)) / len(bounds)
    anchor, shift = ("end", -5) if at > 50 else ("start", 5)  # noqa: PLR2004 - its half of the picture
    return (
        f'<line class="limit" x1="{at:.3f}%" x2="{at:.3f}%" y1="{_TOP - 16}" y2="{_TOP + _PLOT}"/>'
        f'<text class="limit" x="{at:.3f}%" dx="{shift}" y="{_TOP - 7}" text-anchor="{anchor}">'
        f"cut at {limit:,}</text>"
    )
