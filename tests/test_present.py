"""What a person sees, to the character, in a terminal and through a pipe."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.progress import Progress

from rag.jsonform import dumps
from rag.present import AnswerView, PullView, Screen, citation_lines, nearest_lines, place, source_lines
from rag.types import AnswerSentence, Citation, Evidence, EvidenceFound, SentenceVerified
from rag.visible import flowing, visible

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def citation(number: int = 1, text: str = "They met in Kazan.", page: int | None = None) -> Citation:
    return Citation(number, "d", "On BRICS", "file:///notes/a%20b.txt", page, 10, 28, text, "s", 0, 17)


def evidence(text: str = "Some words.") -> Evidence:
    return Evidence(1, "d", "", "https://host/page.html", 3, 5, 16, text, 0.5, "s")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a␛[31mb"),
        ("\x00\x07\x7f", "␀␇␡"),
        ("a\r\nb", "a␍␊b"),
        ("\x9b31m", "�31m"),
        ("\u202eabc\u2066", "�abc�"),
        ("\ud800", "�"),
        ("Łódź, 北京, עברית 👩‍👩‍👧", "Łódź, 北京, עברית 👩‍👩‍👧"),
    ],
)
def test_nothing_acts_on_a_terminal(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_white_space_flows() -> None:
    assert flowing(" a\n\t b\u2028c ") == "a b c"


def test_json_holds_the_same_characters_and_does_nothing_to_a_terminal() -> None:
    text = "Łódź \x1b \x7f \x9b \u202e \u2028 北京 \ud800"
    line = dumps({"text": text})
    assert json.loads(line) == {"text": text}
    assert "Łódź" in line
    assert not set("\x1b\x7f\x9b\u202e\u2028\ud800") & set(line)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("file:///notes/a%20b.txt", "/notes/a b.txt"),
        ("file://localhost/x", "/x"),
        ("file://server/x", "file://server/x"),
        ("https://host/a%20b", "https://host/a%20b"),
    ],
)
def test_where_a_document_lies(uri: str, shown: str) -> None:
    assert place(uri) == shown


def test_a_source_has_title_range_place_page_and_words() -> None:
    lines = source_lines("[2] ", citation(2, "They\n met.", page=7))
    assert [line.lead + line.text for line in lines] == [
        "[2] On BRICS, characters 10–28",
        "    /notes/a b.txt, page 7",
        "    “They met.”",
    ]


def test_a_source_without_a_title_is_called_by_its_file() -> None:
    assert source_lines("", evidence())[0].text == "page.html, characters 5–16"


def test_a_long_quotation_is_cut_between_words_and_whole_on_request() -> None:
    text = "word " * 100 + "end"
    assert source_lines("", citation(text=text))[2].text == "“" + "word " * 59 + "word …”"
    assert source_lines("", citation(text=text), whole=True)[2].text == f"“{text}”"
    assert source_lines("", citation(text="字" * 400))[2].text == "“" + "字" * 300 + " …”"


def test_each_number_is_shown_once_in_order() -> None:
    lines = citation_lines([citation(2), citation(1), citation(2)])
    assert [line.lead for line in lines if line.lead.strip()] == ["[1] ", "[2] "]


def test_without_nearest_passages_nothing_is_said_of_them() -> None:
    assert nearest_lines([]) == []


def test_a_terminal_wraps_under_the_number_and_a_pipe_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm-256color")
    lines = source_lines("[1] ", citation(text="The leaders of nine countries met in Kazan."))
    pipe, terminal = io.StringIO(), Terminal()
    Screen(pipe, io.StringIO()).show(lines)
    Screen(terminal, io.StringIO()).show(lines)
    assert pipe.getvalue().splitlines()[2] == "    “The leaders of nine countries met in Kazan.”"
    assert "\x1b" in terminal.getvalue()
    assert ESCAPE.sub("", terminal.getvalue()).splitlines() == [
        "[1] On BRICS, characters 10–28",
        "    /notes/a b.txt",
        "    “The leaders of nine",
        "    countries met in Kazan.”",
    ]


def test_without_colours_a_terminal_gets_no_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    Screen(terminal, io.StringIO(), colours=False).show(source_lines("[1] ", citation()))
    assert "\x1b" not in terminal.getvalue()


def test_a_note_is_one_line_on_the_error_stream() -> None:
    out, err = io.StringIO(), io.StringIO()
    Screen(out, err).note("cannot read a\x1b[2J\nb")
    assert (out.getvalue(), err.getvalue()) == ("", "cannot read a␛[2J␊b\n")


def test_waiting_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for stream in (io.StringIO(), Terminal()):
        screen = Screen(io.StringIO(), stream)
        with screen.waiting("searching") as waiting:
            AnswerView(screen, waiting, streams=True).show(EvidenceFound((evidence(),)))
        assert bool(stream.getvalue()) == stream.isatty()
        if stream.isatty():
            # The line and the hidden cursor are put right at the end.
            assert stream.getvalue().rstrip().endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A\x1b[2K"))


def test_sentences_are_shown_as_they_come() -> None:
    out = io.StringIO()
    screen = Screen(out, io.StringIO())
    with screen.waiting("") as waiting:
        view = AnswerView(screen, waiting, streams=True)
        shown = []
        for text in ("One [1].", "Two [1]."):
            view.show(SentenceVerified(text, AnswerSentence(0, 8, "supported", 1.0, (1,)), ()))
            shown.append(out.getvalue())
    assert shown == ["One [1].", "One [1]. Two [1]."]


def test_a_terminal_breaks_a_streamed_answer_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    screen = Screen(terminal, io.StringIO())
    column = screen.flow("The leaders of nine countries")
    column = screen.flow(" met in Kazan [1].", column)
    assert column == screen.flow("") + len("Kazan [1].")
    assert terminal.getvalue().splitlines() == ["The leaders of nine", "countries met in", "Kazan [1]."]
    assert screen.flow("字字字 a" + "b" * 30) == 31
    assert terminal.getvalue().endswith("字字字\na" + "b" * 30)


def test_each_remark_of_a_pull_is_said_once() -> None:
    err = io.StringIO()
    with Progress(disable=True) as progress:
        view = PullView(Screen(io.StringIO(), err), progress)
        for done in range(3):
            view.show("m", "wheel 1 of 1", done, 3)
            view.show("m", "joining", done, 3)
    assert err.getvalue() == "wheel 1 of 1\njoining\n"
