"""HTML: what a browser would show."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reader_checks import EXOTIC, outline, read, shown, uncovered, under

from index.errors import EmptyDocument

PAGE = """<!doctype html><html lang="en"><head><title>My  Page</title><style>NO</style>
<meta name="author" content="Ann"><meta property="article:published_time" content="2024-01-02">
<meta property="og:title" content="Other"></head><body>
<h1>Top <i>one</i></h1><p>Hello
  <b>bold</b>.<br>Line two<br><br>Para <!-- NO -->two, caf&eacute;.<span hidden>NO<b>NO</b></span>
<img src="http://invalid.invalid/x.png" alt="NO"><h2>Sub</h2>
<table><caption>Cap</caption><tr><th><th>B<tr><td>1<td><p>2</p><p>3</p><td></table>
<ul><li>one<li>two</ul><pre>x
  y

z</pre><div aria-hidden="true">NO<p>NO</div><div style="color:red; DISPLAY : none">NO</div>
<p style="visibility:hidden">NO<div hidden="">NO</div><script>NO()</script><noscript>NO</noscript>
<template><p>NO</template><select><option>NO</select><svg><title>NO</title></svg>
<dialog>NO</dialog><dialog id="x">NO</dialog>
<dialog open>said</dialog><h1>Next</h1>loose <em>text</em><footer>end</footer></body></html>"""


def test_html_shows_what_a_browser_shows() -> None:
    document = read(PAGE, "a.HTML")
    assert document.title == "My Page"
    assert document.media_type == "text/html"
    assert dict(document.metadata) == {"author": "Ann", "date": "2024-01-02", "language": "en"}
    sub = under("Top one", "Sub")
    assert outline(document) == [
        ("Top one", "", True),
        ("Hello bold.\nLine two", "Top one", False),
        ("Para two, café.", "Top one", False),
        ("Sub", "Top one", True),
        ("Cap", sub, False),
        ("| B", sub, False),
        ("1 | 2 3", sub, False),
        ("one", sub, False),
        ("two", sub, False),
        ("x\n  y\n\nz", sub, False),
        ("said", sub, False),
        ("Next", "", True),
        ("loose text", "Next", False),
        ("end", "Next", False),
    ]
    assert document.text == "\n\n".join(shown(document))


def test_a_table_that_lays_out_a_page_is_read_cell_by_cell() -> None:
    page = "<table><tr><td>menu<td><h2>Head</h2><p>one</p><table><tr><td>a<td>b</table><td>side</table>"
    assert outline(read(page, "a.html")) == [
        ("menu", "", False),
        ("Head", "", True),
        ("one", "Head", False),
        ("a | b", "Head", False),
        ("side", "Head", False),
    ]


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<title> </title><meta property=og:title content='Og'><h1>H</h1>", "Og"),
        ("<p>x</p><h1>H <b>1</b></h1>", "H 1"),
        ("<p>x</p><h2>H</h2>", "stem"),
    ],
)
def test_html_titles(page: str, title: str) -> None:
    assert read(page + "<p>text</p>", "stem.htm").title == title


@pytest.mark.parametrize(
    ("encoding", "head"),
    [
        ("cp1252", "<meta charset=iso-8859-1>"),
        ("shift_jis", '<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS">'),
        ("iso2022_jp", "<meta charset=iso-2022-jp>"),
        ("koi8_r", '<?xml version="1.0" encoding="koi8-r"?>'),
        ("utf-8", "<meta charset=iso-8859-1>"),
        ("utf-8", "<meta charset=utf-7>"),
        ("cp1252", "<meta charset=unicode_escape>"),
        ("utf-16", ""),
    ],
)
def test_html_encodings(encoding: str, head: str) -> None:
    words = {"cp1252": r"naïve “\x41”", "koi8_r": "Привет", "utf-8": "Привет é"}.get(encoding, "日本語")
    assert read(f"{head}<p>{words}</p>".encode(encoding), "a.html").text == words


def test_xhtml_with_empty_elements() -> None:
    page = "<?xml version='1.0'?><html><title/><script src='x'/><p>a<a id='x'/>b</p></html>"
    document = read(page, "a.xhtml")
    assert document.text == "ab"
    assert document.media_type == "application/xhtml+xml"


def test_a_hidden_body_is_read_and_a_page_of_nothing_is_empty() -> None:
    assert (
        read("<body style='display:none'><p>shown later by a script</p>", "a.html").text
        == "shown later by a script"
    )
    with pytest.raises(EmptyDocument):
        read("<title>Only</title><p>&nbsp;</p><script>x()</script>", "a.html")


def test_character_references_cannot_break_the_text() -> None:
    text = read("<p>a&#xD800;&#0;&#55357;b</p>", "a.html").text
    assert text.encode().decode() == text
    # Whether such a reference shows as U+FFFD or not at all depends on libxml2's version.
    assert text.replace("\ufffd", "") == "ab"


@pytest.mark.parametrize("tag", ["div", "b", "p", "ul><li", "table><tr><td", "pre", "h1", "a", "blockquote"])
def test_html_nested_a_hundred_thousand_deep(tag: str) -> None:
    started = time.process_time()
    assert read(f"<{tag}>" * 100_000 + "hello", "a.html").text == "hello"
    assert time.process_time() - started < 10


PIECES = st.sampled_from(
    ["<p>", "</p>", "<br>", "<h1>", "</h1>", "<h2>", "<tr>", "<td>", "</td>", "<table>", "</table>", "<pre>",
     "</pre>", "<li>", "<ul>", "</ul>", "<b>", "<div hidden>", "</div>", "<!--", "-->", "<title>", "</title>",
     "&amp;", "<"]
)  # fmt: skip


@given(st.lists(st.one_of(EXOTIC, PIECES)).map("".join))
def test_html_blocks_hold_for_any_page(page: str) -> None:
    try:
        document = read(page, "a.html")
    except EmptyDocument:
        return
    assert uncovered(document) == ""
    assert document == read(page, "a.html")
