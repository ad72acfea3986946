"""Marked ranges: cut exactly, with the text around them, and harmless as HTML."""

from __future__ import annotations

import itertools

import pytest

from rag.report_marks import Mark, excerpts, shown


def test_excerpts_are_the_text_around_ranges_and_nothing_twice() -> None:
    text = " ".join(f"word{n:04}" for n in range(400))
    ranges = [(900, 930), (905, 960), (1500, 1510), (0, 3), (len(text) - 4, len(text))]
    found = excerpts(text, [Mark(start, end, "gold") for start, end in ranges], context=100)
    assert [(one.before, one.after) for one in found] == [
        (False, True),
        (True, True),
        (True, True),
        (True, False),
    ]
    for one in found:
        for left, right in itertools.pairwise(one.parts):
            assert left.start + len(left.text) == right.start
        for part in one.parts:
            assert text[part.start : part.start + len(part.text)] == part.text
    middle = "".join(part.text for part in found[1].parts)
    assert middle.startswith("word")
    assert middle[-8:-4] == "word"
    assert 900 - 100 <= found[1].parts[0].start <= 900 - 60


def test_stretches_that_nearly_touch_are_one() -> None:
    text = "x" * 1000
    marks = [Mark(100, 110, "gold"), Mark(100 + 110 + 30, 250, "cited")]
    assert len(excerpts(text, marks, context=50)) == 1
    assert len(excerpts(text, [marks[0], Mark(400, 410, "cited")], context=50)) == 2


def test_a_mark_outside_the_text_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        excerpts("abc", [Mark(1, 4, "gold")])


def test_overlapping_marks_are_cut_where_each_begins_and_ends() -> None:
    marks = [Mark(1, 5, "gold"), *(Mark(3, 8, "cited", f"{n}") for n in range(9)), Mark(6, 6, "near")]
    (one,) = excerpts("0123456789", marks)
    assert [(part.text, part.layers, part.notes) for part in one.parts] == [
        ("0", (), ()),
        ("12", ("gold",), ()),
        ("34", ("cited", "gold"), ()),
        ("567", ("cited",), tuple("012345678")),
        ("89", (), ()),
    ]


def test_characters_that_act_are_shown_as_signs() -> None:
    assert shown("a\x00\x1b[1m\u202eb\ud800\r\n\tc") == "a␀␛[1m\ufffdb\ufffd&#13;\n\tc"
    assert shown('<a href="x">\'&') == "&lt;a href=&#34;x&#34;&gt;&#39;&amp;"
