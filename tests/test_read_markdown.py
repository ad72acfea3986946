"""Markdown: blocks as ranges of the source."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reader_checks import EXOTIC, outline, read, shown, uncovered, under

from index.errors import EmptyDocument

MARKDOWN = """\
---
title: "The  Report"
author: [Ann, Bob]
date: 2024-01-02
nested: {a: b}
---
Intro line
goes on.

# Chapter *one* [link](x) #

> quoted
> twice

- item
  - sub item
2. numbered

   second paragraph

Section
-------

| a | b |
|---|:-:|
| 1 | 2 \\| 3 |

```python
code()

more()
```

    indented

***

![picture](x.png)

<!-- hidden

still hidden -->

<div align="center">Shown <b>bold</b></div>

### Deep

Before <!-- not this --> after, but `<!-- code -->` stays.

# Next

[ref]: https://example.org
end [ref]
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_markdown_blocks_are_ranges_of_the_source(newline: str) -> None:
    source = MARKDOWN.replace("\n", newline)
    document = read(source, "a.md")
    assert document.text == source
    assert document.media_type == "text/markdown"
    assert document.title == "The Report"
    assert dict(document.metadata) == {"author": "Ann, Bob", "date": "2024-01-02"}
    chapter = "Chapter one link"
    section = under(chapter, "Section")
    deep = under(section, "Deep")
    expected = [
        ("Intro line\ngoes on.", "", False),
        ("Chapter *one* [link](x)", "", True),
        ("quoted\n> twice", chapter, False),
        ("item", chapter, False),
        ("sub item", chapter, False),
        ("numbered", chapter, False),
        ("second paragraph", chapter, False),
        ("Section", chapter, True),
        ("a | b", section, False),
        ("1 | 2 \\| 3", section, False),
        ("code()\n\nmore()", section, False),
        ("indented", section, False),
        ("Shown <b>bold", section, False),
        ("Deep", section, True),
        ("Before", deep, False),
        ("after, but `<!-- code -->` stays.", deep, False),
        ("Next", "", True),
        ("end [ref]", "Next", False),
    ]
    assert outline(document) == [(text.replace("\n", newline), path, is_h) for text, path, is_h in expected]


def test_markdown_title_is_the_first_level_one_heading_else_the_stem() -> None:
    assert read("## Sub\n\n# Main `x` & more\n\n# Other", "a.md").title == "Main x & more"
    assert read("The Long Way to the North\n\ntext", "stem.markdown").title == "stem"


def test_headings_in_quotes_open_no_section() -> None:
    document = read("# A\n\n> # Q\n\ntext\n", "a.md")
    assert outline(document) == [("A", "", True), ("Q", "A", True), ("text", "A", False)]


@pytest.mark.parametrize(
    "front",
    ["---\n- a\n- b\n---\n", "---\na: [\n---\n", "---\n" + "[" * 5000 + "\n---\n", "---\nplain words\n---\n"],
)
def test_what_is_no_front_matter_is_text(front: str) -> None:
    document = read(front + "\nEnd.", "a.md")
    assert dict(document.metadata) == {}
    assert shown(document)[-1] == "End."
    assert len(document.blocks) > 1


def test_front_matter_builds_no_objects_and_does_not_explode() -> None:
    bomb = "a: &a [x,x]\n" + "".join(
        f"{c}: &{c} [*{p},*{p},*{p},*{p}]\n" for p, c in zip("abcdefghijk", "bcdefghijkl", strict=True)
    )
    document = read(f"---\nrun: !!python/object/apply:os.getcwd []\n{bomb}---\nText.", "a.md")
    assert dict(document.metadata) == {"a": "x, x"}
    assert shown(document) == ["Text."]


def test_markup_alone_is_an_empty_document() -> None:
    with pytest.raises(EmptyDocument, match=r"^a\.md has no text in it"):
        read("---\ntitle: x\n---\n<!-- c -->\n\n***\n\n![only](a.png)\n", "a.md")


def test_line_separators_that_markdown_does_not_know_keep_offsets() -> None:
    document = read("a\u2028b\x85c\n\n- d\ve\n", "a.md")
    assert shown(document) == ["a\u2028b\x85c", "d\ve"]


def test_markdown_deeper_than_the_parser_goes_is_kept() -> None:
    assert shown(read("> " * 300 + "deep", "a.md")) == ["deep"]


PIECES = st.sampled_from(
    ["# ", "## ", "> ", "- ", "1. ", "```\n", "~~~\n", "| a | b |\n|---|---|\n", "<!--", "-->", "---\n", "|",
     "***\n", "<div>", "</div>", "![x](y)", "[r]: z\n", "    ", "===\n", "`", "``", "\\", "a: b\n", "#",
     "<script>"]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, EXOTIC, st.text("abc \n", max_size=5))).map("".join))
def test_markdown_blocks_hold_for_any_source(source: str) -> None:
    try:
        document = read(source, "a.md")
    except EmptyDocument:
        return
    assert document.text == source.removeprefix("\ufeff")
    assert document == read(source, "a.md")


@given(st.lists(st.text("abcé👋 .,", min_size=1).filter(str.strip), min_size=1))
def test_markdown_covers_all_plain_paragraphs(paragraphs: list[str]) -> None:
    source = "\n\n".join("x" + paragraph.strip() for paragraph in paragraphs)
    document = read(source, "a.md")
    assert uncovered(document) == ""
    assert len(document.blocks) == len(paragraphs)


@pytest.mark.parametrize(
    "source",
    [
        *(piece * 50_000 for piece in ["> ", "- ", "[", "`", "<", "*", "| a ", "a\n", "<!--", "> - ", "&"]),
        "<div>\n" + "<a>" * 50_000 + "x" + "</a>" * 50_000,
    ],
    ids=lambda source: source[:12],
)
def test_hostile_markdown_takes_linear_time(source: str) -> None:
    started = time.process_time()
    with contextlib.suppress(EmptyDocument):
        read(source + "\n\nend", "a.md")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(("lines", "metadata"), [(8_000, 1), (8_200, 0)])
def test_front_matter_has_a_limit(lines: int, metadata: int) -> None:
    document = read("---\n" + "# abcde\n" * lines + "k: v\n---\ntext", "a.md")
    assert len(document.metadata) == metadata


def test_headings_in_a_path_are_short() -> None:
    document = read("# " + "x" * 300 + "\n\ntext", "a.md")
    assert document.blocks[1].heading == document.title == "x" * 199 + "…"
