"""The report's page: what a person opens in a browser, whatever the dataset holds."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from shared.data import pictures
from shared.data.page import page
from shared.data.prepare import Options, prepare
from shared.data.report import Report, bin_of
from shared.errors import DataRejected
from tests.memory import MemorySink, MemorySource, conversation, conversations, jsonl

VOID = {"meta", "br", "rect", "line"}


class Read(HTMLParser):
    """A page as a browser sees it: tags, texts and attributes; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, "a tag is left open"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def prepared(content: bytes, options: Options | None = None, name: str = "data/train.jsonl"):
    sink = MemorySink()
    try:
        prepare({"train": [MemorySource(content, name)]}, sink, options or Options())
    except DataRejected as error:
        assert error.problems  # noqa: PT017 - rejected data has a page as well
    report = msgspec.json.decode(sink.read("report.json"), type=Report)
    return report, sink.read("report.html").decode()


def test_it_stands_beside_the_report_and_says_its_figures():
    rows = [*conversations(1200), conversation("q" * 9000, "a"), conversation("x")]
    report, html = prepared(jsonl(*rows), Options(max_seq_length=1024))
    assert html == page(report)
    read = Read(html)
    train = report.splits["train"]
    for told in (
        f"{train.rows:,} rows to train on, of 1,202 read",
        "1 rows refused (0.08%)",
        "Fit to train on",
        "cut at 1,024",
        "Fewer than two messages too_few_messages 1",
        report.fingerprint,
        f"train {train.rows:,} {train.turns:,} {train.characters:,} {train.tokens:,}",
    ):
        assert told in read.text


def test_rejected_data_has_its_problems_at_the_top():
    report, html = prepared(jsonl(*conversations(50), *[b"x"] * 50))
    read = Read(html).text
    assert "Rejected" in read
    places = [read.index(problem.reason) for problem in report.problems]
    assert places == sorted(places)
    assert max(places) < read.index("rows to train on")
    assert all(problem.mend in read for problem in report.problems)


def test_a_file_without_a_row_has_a_page_too():
    _, html = prepared(b"", name="data/empty.jsonl")
    assert "there is not one row in data/empty.jsonl" in Read(html).text


HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x00\x1b\u202e"


def test_nothing_of_the_dataset_becomes_part_of_the_page():
    """Texts, roles, names and columns are shown as they are; nothing runs, nothing is fetched."""
    broken = {"messages": [{"role": HOSTILE, "content": "x"}]}
    rows = [*[conversation(f"{HOSTILE}{n}", HOSTILE) for n in range(30)], broken, {HOSTILE: 1}]
    _, html = prepared(jsonl(*rows), Options(max_dropped_fraction=1), f"data/{HOSTILE}.jsonl")
    read = Read(html)
    assert not {tag for tag, _ in read.tags} & {"script", "img", "iframe", "link", "object", "a"}
    for _, attributes in read.tags:
        assert not {"src", "href", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "\x00" not in html
    assert "url(" not in html
    assert "<script>alert(1)</script>" in "".join(read.texts)
    policy = [attributes.get("content") for tag, attributes in read.tags if tag == "meta"]
    # The default is not about the last two.
    rules = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert rules in policy


def test_it_is_made_for_phones_and_for_the_dark():
    _, html = prepared(jsonl(*conversations(50)))
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in html
    assert "prefers-color-scheme: dark" in html


def test_a_page_stays_small_whatever_the_dataset():
    """Long conversations are cut, and thousands of files are counted."""
    rows = jsonl(*[conversation(f"{n}", *["w" * 20_000] * 99) for n in range(15)])
    files = [MemorySource(rows if not n else b"", f"data/{n}.jsonl") for n in range(2000)]
    sink = MemorySink()
    prepare({"train": files}, sink, Options())
    assert len(sink.read("report.html")) < 100_000
    assert "and 1,950 more" in sink.read("report.html").decode()


def bars(svg: str) -> list[tuple[float, float, str]]:
    """Place, height and words of each bar."""
    found = re.findall(r'x="([\d.]+)%".*?height="([\d.]+)" rx="2"><title>(.*?)</title>', svg)
    return [(float(x), float(height), words) for x, height, words in found]


def test_a_histogram_is_true_to_its_counts():
    """Heights go by counts, places by values, and an empty bin leaves its place free."""
    svg = pictures.histogram({2: 50, 4: 100, 10: 25}, unit="m", label="l", colour="train")
    drawn = bars(svg)
    assert [words for *_, words in drawn] == [
        "2 m: 50 examples",
        "4 m: 100 examples",
        "9 to 10 m: 25 examples",
    ]
    heights = [height for _, height, _ in drawn]
    assert heights[0] / heights[1] == pytest.approx(0.5)
    assert heights[2] / heights[1] == pytest.approx(0.25)
    assert [round(x / (100 / 8)) for x, *_ in drawn] == [0, 2, 7]  # 2 3 4 5 6 7 8 10


def test_what_lies_beyond_the_limit_is_drawn_apart():
    svg = pictures.histogram({640: 1, 768: 2}, unit="t", label="l", colour="train", limit=640)
    assert svg.count('class="train"') == svg.count('class="beyond"') == 1
    assert "cut at 640" in svg
    far = pictures.histogram({640: 1}, unit="t", label="l", colour="train", limit=4096)
    assert "cut at" not in far


def test_the_bins_of_all_pictures_follow_each_other_without_a_gap():
    bounds = sorted({bin_of(value) for value in range(1, 3000)})
    assert pictures._bounds(bounds[0], bounds[-1]) == bounds


def test_shares_fill_the_bar_and_nothing_is_too_thin_to_see():
    shares = [pictures.Share("a", 999_999, "train"), pictures.Share("b", 1, "dropped")]
    drawn = pictures.share_bar(shares, "l")
    widths = [float(width) for width in re.findall(r'<rect .*? width="([\d.]+)%"', drawn)]
    assert sum(widths) == pytest.approx(100, abs=0.01)
    assert widths[1] > 0.3
    assert pictures.share_bar([pictures.Share("a", 0, "train")], "l") == ""


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1500, "1.5k"), (2000, "2k"), (12_345_678, "12M")]
)
def test_large_numbers_are_told_in_a_few_letters(number, text):
    assert pictures.short(number) == text
