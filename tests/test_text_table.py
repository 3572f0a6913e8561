"""Tables in HTML, Markdown and LaTeX: whatever a name holds, it stays a name."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told_mixtures import HOSTILE

from taskpgm.text_table import Table, as_html, as_latex, as_markdown, latex_text, markdown_text, number, range_of

TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))


class Read(HTMLParser):
    """The tags of some HTML, and the text of each of its cells."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def table(name: str, heading: str = "task") -> Table:
    return Table("some", "Some numbers", (heading, "weight"), ((name, number(0.25, ".1%")), ("other", number(None))))


@given(TEXTS, TEXTS)
def test_in_html_names_add_no_tags_and_are_read_back(name: str, heading: str) -> None:
    read = Read(as_html(table(name, heading)))
    plain = Read(as_html(table("name", "heading")))
    assert read.tags == plain.tags
    kept = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "\ufffd", name)
    assert read.cells[2].strip("\n") == kept.strip("\n")


def test_in_html_numbers_carry_their_value_and_missing_ones_none() -> None:
    source = as_html(table("copy"))
    assert '<td class="number" data-value="0.25">25.0%</td>' in source
    assert '<td class="number" data-value="">–</td>' in source
    assert '<th scope="col" class="number"><button type="button">weight' in source


@given(TEXTS)
def test_a_markdown_table_keeps_its_columns(name: str) -> None:
    lines = as_markdown(table(name)).splitlines()
    assert len(lines) == 4
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) == 3


def test_markdown_has_no_tags_and_no_links() -> None:
    assert markdown_text("<b>[a](b)</b> *c* `d`") == r"&lt;b&gt;\[a\](b)&lt;/b&gt; \*c\* \`d\`"


@given(TEXTS)
def test_in_latex_no_character_of_a_name_commands(name: str) -> None:
    left = latex_text(name)
    for command in (r"\textbackslash{}", r"\textasciicircum{}", r"\textasciitilde{}", r"\textless{}"):
        left = left.replace(command, "")
    for command in (r"\textgreater{}", r"\textbar{}", r"\textquotedbl{}", "{[}", "{]}", r"$\times$"):
        left = left.replace(command, "")
    left = re.sub(r"\\[{}$&#%_]", "", left)
    assert not set(left) & set("\\{}$&#%_^~\n\r\x00")


def test_a_latex_table_is_a_booktabs_table() -> None:
    source = as_latex(table("50% & _more_"))
    assert r"50\% \& \_more\_ & 25.0\% \\" in source
    assert r"\begin{tabular}{lr}" in source
    for rule in ("toprule", "midrule", "bottomrule"):
        assert f"\\{rule}" in source


@pytest.mark.parametrize("ends", [None, (None, 1.0), (0.0, None)])
def test_an_interval_without_an_end_is_missing(ends: tuple[float | None, float | None] | None) -> None:
    assert str(range_of(ends)) == "–"
    assert str(range_of((0.1, 0.2), ".0f", 100.0)) == "10 to 20"
