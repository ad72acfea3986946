"""The page's pure functions, run where they run: in the browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from page_browser import Server
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def call(chromium: Browser, site: Server) -> Iterator[Call]:
    """`call("offsets.slice", text, 1, 2)`."""
    page: Page = chromium.new_page()
    page.goto(site.base)

    def called(name: str, *arguments: Any) -> Any:
        module, function = name.split(".")
        return page.evaluate(
            "async ([module, name, given]) => (await import(`/static/${module}.js`))[name](...given)",
            [module, function, list(arguments)],
        )

    yield called
    page.close()


TEXTS = ["", "plain", "😀", "a😀b", "😀😀 𝒜b𐍈 é\r\n漢字", "👩‍👩‍👧 family 🇨🇭", "x" * 50 + "😀" * 50 + "y" * 50]


@pytest.mark.parametrize("text", TEXTS)
def test_slices_by_code_points_are_pythons(call: Call, text: str) -> None:
    assert call("offsets.length", text) == len(text)
    for start in range(0, len(text) + 1, 3):
        for end in range(start, len(text) + 1, 5):
            assert call("offsets.slice", text, start, end) == text[start:end]


def test_segments_are_the_text_and_each_range_its_characters(call: Call) -> None:
    text = "😀 one 𝒜 two 😀 three"
    start = 100
    ranges = [{"start": 102, "end": 107}, {"start": 106, "end": 111}, {"start": 90, "end": 101}]
    parts = call("marks.segments", text, start, ranges)
    assert "".join(part["text"] for part in parts) == text
    for index, one in enumerate(ranges):
        found = "".join(part["text"] for part in parts if index in part["inside"])
        assert found == text[max(one["start"] - start, 0) : one["end"] - start]
    assert all(part["text"] == text[part["start"] - start : part["end"] - start] for part in parts)


def test_stretches_are_cut_at_lines(call: Call) -> None:
    assert call("marks.lastLineEnd", "😀\nab\ncd") == 5
    assert call("marks.lastLineEnd", "😀abc") == 4
    assert call("marks.lastLineEnd", "😀\n" + "a" * 9, 3) == 11
    assert call("marks.firstLineStart", "😀b\ncd") == 3
    assert call("marks.firstLineStart", "abc") == 0
    assert call("marks.firstLineStart", "abc\n") == 0
    pages = [{"number": 1, "start": 0, "end": 5}, {"number": 2, "start": 6, "end": 9}]
    assert [call("marks.pageAt", pages, at) for at in (0, 4, 5, 6, 9)] == [1, 1, None, 2, None]


STREAM = (
    'event: evidence\r\ndata: {"a":\r\ndata: "é😀"}\r\n\r\n: waiting\n\n'
    "id: 7\ndata:x\n\nevent: e\n\ndata: y\r\r"
)
EVENTS = [
    {"event": "evidence", "data": '{"a":\n"é😀"}'},
    {"event": "message", "data": "x"},
    {"event": "message", "data": "y"},
]


def test_events_are_parsed_however_they_are_cut(call: Call, chromium: Browser, site: Server) -> None:
    page = chromium.new_page()
    page.goto(site.base)
    found = page.evaluate(
        """async ([bytes]) => {
          const { eventsOf } = await import("/static/events.js");
          const all = [];
          for (let cut = 1; cut <= bytes.length; cut += 1) {
            const body = new ReadableStream({
              start(controller) {
                for (let at = 0; at < bytes.length; at += cut)
                  controller.enqueue(new Uint8Array(bytes.slice(at, at + cut)));
                controller.close();
              },
            });
            const events = [];
            for await (const event of eventsOf(body)) events.push(event);
            all.push(JSON.stringify(events));
          }
          return [...new Set(all)];
        }""",
        [list((STREAM + "\n").encode())],
    )
    page.close()
    assert [json.loads(one) for one in found] == [EVENTS]


def sentence(text: str, start: int, end: int, numbers: list[int], score: float = 1.0) -> dict[str, Any]:
    return {
        "text": text,
        "sentence": {
            "start": start, "end": start + len(text), "verdict": "supported", "score": score,
            "citations": numbers,
        },
        "citations": [
            {
                "number": number, "document_id": f"d{number}", "title": f"T*{number}*", "uri": "u", "page": 3,
                "start": 5, "end": 9, "cited_text": "a [b](c)\n<d>", "answer_start": start, "answer_end": end,
            }
            for number in numbers
        ],
    }  # fmt: skip


def test_the_marker_is_found_by_the_range_and_not_by_its_looks(call: Call) -> None:
    one = sentence("As [1] says, 😀 [1] wins [1][2].", 40, 40 + len("As [1] says, 😀 [1] wins"), [1, 2])
    parts = call("turns.partsOf", one)
    assert parts == {"body": "As [1] says, 😀 [1] wins", "numbers": [1, 2], "final": "."}
    assert call("turns.partsOf", sentence("No marker", 0, 4, []))["body"] == "No marker"
    torn = sentence("Cut", 0, 1, [1])
    assert call("turns.partsOf", torn) == {"body": "Cut", "numbers": [1], "final": ""}


def test_a_turn_grows_with_its_events(call: Call) -> None:
    turn = call(
        "turns.newTurn",
        {"id": "t", "conversation": "c", "question": "Q", "mode": "quote", "now": 5, "tab": "x"},
    )
    assert (turn["state"], turn["evidence"], turn["sentences"]) == ("asking", None, [])
    turn = call("turns.advance", turn, {"event": "evidence", "evidence": [1]})
    turn = call("turns.advance", turn, {"event": "something new"})
    first, second = sentence("😀 A [1].", 0, 3, [1]), sentence("B [2].", 9, 10, [2], 0.85)
    turn = call("turns.advance", turn, {"event": "sentence", **first})
    assert turn["sentences"][0]["text"] == "😀 A [1]."
    answer = {
        "status": "answered",
        "answer": "😀 A [1]. B [2].",
        "sentences": [first["sentence"], second["sentence"]],
        "citations": first["citations"] + second["citations"],
        "nearest": [],
    }
    turn = call("turns.advance", turn, {"event": "answer", "answer": answer})
    assert turn["state"] == "done"
    assert [one["text"] for one in turn["sentences"]] == ["😀 A [1].", "B [2]."]
    assert call("turns.plainAnswer", turn) == "😀 A. B."
    assert [one["number"] for one in call("turns.citationsOf", turn)] == [1, 2]
    assert [call("turns.isLoose", one["sentence"]) for one in turn["sentences"]] == [False, True]
    later = {**turn, "id": "later", "created": 9, "state": "asking"}
    assert call("turns.historyBefore", [turn, later], later) == [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "😀 A. B."},
    ]
    assert call("turns.historyBefore", [{**turn, "state": "stopped"}, later], later) == []


def test_markdown_has_the_footnotes_and_nothing_that_acts(call: Call) -> None:
    turn = {
        "question": "# Q <img>",
        "answer": None,
        "sentences": [sentence("It *is* <b> ![x](y) `z` [1].", 0, len("It *is* <b> ![x](y) `z`"), [1], 0.8)],
    }
    text = call("markdown.turnAsMarkdown", turn, "http://h", "")
    assert text == (
        r"It \*is\* \<b\> \!\[x\](y) \`z\`.[^1] (loosely supported)"
        + "\n\n"
        + r"[^1]: [T\*1\*, page 3](<http://h/documents/d1?start=5&end=9>): “a \[b\](c) \<d\>”"
        + "\n"
    )
    whole = call("markdown.conversationAsMarkdown", {"title": "T"}, [turn, turn], "http://h")
    assert whole.count("[^1-1]") == whole.count("[^2-1]") == 2
    assert "## \\# Q \\<img\\>" in whole
    assert call("markdown.fileName", "../Wer war's? é/漢", "md") == "Wer-war-s-é-漢.md"
    assert call("markdown.fileName", "???", "md") == "conversation.md"
    assert call("markdown.escaped", "1. https://x www.y") == r"1\. https\://x www\.y"


def test_sizes_are_said_as_the_command_line_says_them(call: Call) -> None:
    sizes = [1, 999, 1000, 491_400_064, 1_117_320_768]
    assert [call("dom.inBytes", size) for size in sizes] == [
        "1 bytes",
        "999 bytes",
        "1 kB",
        "491 MB",
        "1.1 GB",
    ]
    assert call("dom.counted", 1, "passage") == "1 passage"
    assert call("dom.counted", 3400, "passage") == "3,400 passages"
