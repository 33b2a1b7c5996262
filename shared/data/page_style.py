"""The style sheet of the report's page: light and dark, wide screens and phones, nothing fetched."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #e3e6eb; --text: #1b2330; --soft: #5d6878; --faint: #6b7686;
  --train: #3b62d6; --validation: #18a0a8; --test: #8a5cd6; --rest: #c3cad5; --beyond: #e08a1e;
  --dropped: #d2453b; --good: #1d7f4e; --good-back: #e2f4ea; --bad: #b3261e; --bad-back: #fdecea;
  --well: #eef1f6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11151b; --card: #1a2029; --line: #2c3541; --text: #e8ecf2; --soft: #a5b0bf; --faint: #93a0b1;
    --train: #7c9bff; --validation: #41c7cd; --test: #b594f5; --rest: #4a5564; --beyond: #f2ac52;
    --dropped: #f0746b; --good: #7fdcab; --good-back: #15362a; --bad: #ff9d95; --bad-back: #3d1b1a;
    --well: #222a35;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 28px 20px 56px; }
header { margin-bottom: 20px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 8px 0 4px; letter-spacing: -0.015em; overflow-wrap: anywhere; }
h2 { font-size: 1.08rem; margin: 0 0 4px; letter-spacing: -0.005em; }
h3 { font-size: 0.92rem; margin: 22px 0 2px; }
p { margin: 0; }
.kicker { font-size: 0.8rem; font-weight: 600; letter-spacing: 0.06em; text-transform: uppercase; color: var(--soft); }
.chip {
  display: inline-block; margin-left: 10px; padding: 2px 10px; border-radius: 999px; font-size: 0.8rem;
  font-weight: 600; letter-spacing: 0; text-transform: none;
}
.chip.good { color: var(--good); background: var(--good-back); }
.chip.bad { color: var(--bad); background: var(--bad-back); }
.soft { color: var(--soft); font-size: 0.92rem; }
section, .tile { background: var(--card); border: 1px solid var(--line); border-radius: 14px; }
section { padding: 20px 22px 22px; margin-top: 16px; }
section.problems { border-color: var(--bad); border-left-width: 5px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 16px; }
.tile { padding: 14px 16px; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.25; font-weight: 650; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--soft); font-size: 0.85rem; line-height: 1.35; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 16px; margin-top: 16px; }
.pair section { margin-top: 0; min-width: 0; }
svg { display: block; overflow: visible; }
svg.share { margin: 14px 0 10px; border-radius: 7px; overflow: hidden; }
.plot { margin-top: 10px; padding-left: 42px; }
svg text { font-size: 12px; font-family: inherit; font-variant-numeric: tabular-nums; }
rect.train, .dot.train { fill: var(--train); background: var(--train); }
rect.validation, .dot.validation { fill: var(--validation); background: var(--validation); }
rect.test, .dot.test { fill: var(--test); background: var(--test); }
rect.rest, .dot.rest { fill: var(--rest); background: var(--rest); }
rect.dropped, .dot.dropped { fill: var(--dropped); background: var(--dropped); }
rect.beyond, .dot.beyond { fill: var(--beyond); background: var(--beyond); }
line.gap { stroke: var(--card); stroke-width: 2; }
line.grid { stroke: var(--line); stroke-dasharray: 2 4; }
line.axis { stroke: var(--faint); }
line.limit { stroke: var(--beyond); stroke-width: 2; stroke-dasharray: 5 3; }
text.limit { fill: var(--text); font-weight: 600; }
text.faint { fill: var(--faint); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 0; list-style: none; font-size: 0.9rem; }
.legend li { white-space: nowrap; }
.legend b, td.number, .count { font-variant-numeric: tabular-nums; font-weight: 600; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px; }
.scroll { overflow-x: auto; margin: 10px -4px 0; padding: 0 4px; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th, td { padding: 7px 10px; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-weight: 600; font-size: 0.82rem; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
td.number { font-weight: 400; }
ol.problems { margin: 10px 0 0; padding: 0; list-style: none; }
ol.problems li { padding: 12px 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
ol.problems li:first-child { border-top: 0; padding-top: 4px; }
.mend { color: var(--soft); }
code, .place {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Noto Sans Mono", monospace; font-size: 0.86em;
}
.place { color: var(--soft); overflow-wrap: anywhere; }
.reason { margin-top: 16px; }
.reason:first-of-type { margin-top: 12px; }
.reason .head { display: flex; justify-content: space-between; gap: 16px; align-items: baseline; }
.reason svg { margin: 5px 0 6px; border-radius: 4px; background: var(--well); overflow: hidden; }
details { margin-top: 4px; font-size: 0.9rem; }
summary { cursor: pointer; color: var(--soft); }
details ul { margin: 6px 0 0; padding-left: 20px; overflow-wrap: anywhere; }
.talk { margin-top: 14px; padding-top: 14px; border-top: 1px solid var(--line); }
p.more { margin-top: 8px; }
.talk:first-of-type { border-top: 0; padding-top: 0; }
.said {
  max-width: 86%; width: fit-content; margin-top: 8px; padding: 8px 13px 9px; border-radius: 12px;
  background: var(--well);
}
.said.user { margin-left: auto; background: var(--train); color: #fff; }
.said .who { display: block; font-size: 0.74rem; font-weight: 600; opacity: 0.8; }
.said .what { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.93rem; unicode-bidi: isolate; }
.said.system { max-width: 100%; width: auto; background: none; border: 1px dashed var(--line); }
footer { margin-top: 26px; color: var(--soft); font-size: 0.85rem; overflow-wrap: anywhere; }
@media (max-width: 560px) {
  main { padding: 18px 12px 40px; }
  section { padding: 16px 15px 18px; }
  h1 { font-size: 1.4rem; }
  .tile b { font-size: 1.3rem; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 10px; }
  .tiles > :last-child:nth-child(odd) { grid-column: 1 / -1; }
  .said { max-width: 94%; }
}
@media (prefers-color-scheme: dark) { .said.user { color: #0d1320; } }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } details > * { display: block; } }
"""
