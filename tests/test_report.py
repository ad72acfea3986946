"""The report: what it says is what the run holds, and nothing in it can act."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

import lxml.html
import pytest

from rag.confidence import Interval
from rag.report import outcome, render_report
from rag.results import Difference, Metric, Passed, Run
from rag.types import Turn

TEXT = (
    "The zoo of Basel opened in 1874. It keeps elephants.\r\n\r\nFlamingos breed there. One is 61 years old."
)
TEXTS = {"zoo": ("The zoo", TEXT)}


def cited(number: int, start: int, end: int, document_id: str = "zoo", text: str = TEXT) -> dict[str, Any]:
    return {
        "number": number, "document_id": document_id, "title": "The zoo", "page": None,
        "uri": "file:///zoo.txt",
        "start": start, "end": end, "cited_text": text[start:end], "sha256": "",
        "answer_start": 0, "answer_end": 7,
    }  # fmt: skip


def answered(text: str = "In 1874 [1].", *citations: dict[str, Any], **more: Any) -> dict[str, Any]:
    sentence = {"start": 0, "end": len(text), "verdict": "supported", "score": 0.9, "citations": [1]}
    return {
        "status": "answered", "answer": text, "sentences": [sentence], "citations": list(citations),
        "nearest": [], "withheld": [], "reason": "", "question": "", "model": "m", "collection": "c",
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cached_tokens": 0},
        "timings_ms": {"retrieve": 1, "first_evidence": 2, "first_token": 30, "total": 400}, **more,
    }  # fmt: skip


def refused(**more: Any) -> dict[str, Any]:
    return answered("") | {"status": "unanswerable", "sentences": [], "reason": "not stated"} | more


PASSED = Passed(
    id="q001",
    question="When did the zoo open?",
    kind="fact",
    answerable=True,
    gold_answers=("1874", "in 1874"),
    gold=((("zoo", 27, 31),),),
    answer=answered("In 1874 [1].", cited(1, 0, 32)),
    scores={"correct": 1.0},
    confidence=0.8,
    signals={"dense": 0.5},
)
METRIC = Metric("token_f1", 0.75, Interval(0.75, 0.5, 0.9, 12), 12, True)


def page(*passed: Passed, texts: dict[str, tuple[str, str]] = TEXTS, **more: Any) -> lxml.html.HtmlElement:
    run = Run(configuration={}, questions=passed, metrics=(METRIC,))
    return lxml.html.document_fromstring(render_report(replace(run, **more), texts))


def words(element: lxml.html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def marked(tree: lxml.html.HtmlElement) -> list[tuple[str, int, str, str | None]]:
    """Class, start, text and notes of every mark in a passage."""
    return [
        (one.get("class"), int(one.get("data-start")), one.text, one.get("data-notes"))
        for one in tree.iterfind(".//blockquote//mark")
    ]


def test_gold_cited_and_both_are_told_apart() -> None:
    assert marked(page(PASSED)) == [
        ("cited", 0, "The zoo of Basel opened in ", None),
        ("cited gold", 27, "1874", None),
        ("cited", 31, ".", "1"),
    ]


def test_a_passage_reads_as_the_document_does() -> None:
    (quotation,) = page(PASSED).iterfind(".//blockquote")
    assert quotation.text_content() == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "Ada 👩‍👩‍👧 and Bo 🇨🇭 met. e\u0301te\u0301 came. " * 3,
        "פגישה בקזאן ביום חמישי. مرحبا بالعالم في قازان. " * 3,
        "你好，世界。他们在喀山会面。" * 8,
        "a\r\nb\tc\n\n<b>&amp; \"quoted\" 'too'" * 4,
    ],
)
def test_marked_text_is_the_range_in_every_script(text: str) -> None:
    ranges = [(2, 17), (9, 24), (9, 10), (24, 31), (40, 55)]
    gold = tuple(("d", start, end) for start, end in ranges[:2])
    citations = [cited(n, start, end, "d", text) for n, (start, end) in enumerate(ranges[2:], 1)]
    passed = replace(PASSED, gold=(gold,), answer=answered("In 1874 [1].", *citations))
    found = marked(page(passed, texts={"d": ("Title", text)}))
    held = {"gold": set(), "cited": set()}  # type: dict[str, set[int]]
    for layers, start, piece, _ in found:
        assert piece == text[start : start + len(piece)]
        for layer in layers.split():
            held[layer].update(range(start, start + len(piece)))
    assert held["gold"] == {at for start, end in ranges[:2] for at in range(start, end)}
    assert held["cited"] == {at for start, end in ranges[2:] for at in range(start, end)}


NASTY = "</script></style><img src=x onerror=alert(1)>\" onload='x' {{ 7*7 }} &lt;"


def nasty_page() -> lxml.html.HtmlElement:
    """Every text that comes from without, hostile."""
    citation = cited(1, 0, len(NASTY), NASTY, NASTY) | {"title": NASTY, "cited_text": NASTY + "!"}
    near = citation | {"text": NASTY, "score": 1.0, "number": 2}
    passed = Passed(
        id=NASTY, question=NASTY, kind=NASTY, answerable=True, gold_answers=(NASTY,),
        gold=(((NASTY, 0, 5), (NASTY + "?", 0, 5)),), scores={NASTY: 1.0}, confidence=0.5,
        signals={NASTY: 1.0}, history=(Turn("user", NASTY),),
        answer=answered(NASTY, citation, withheld=[{"text": NASTY, "reason": NASTY}], nearest=[near]),
    )  # fmt: skip
    no = replace(passed, answer=refused(reason=NASTY, nearest=[near]))
    return page(
        passed, no, texts={NASTY: (NASTY, NASTY)},
        metrics=(replace(METRIC, name=NASTY, unit=NASTY), Metric("none", None, None, 0, True, "", NASTY)),
        differences=(Difference(NASTY, 0.1, 0.2, 0.1, Interval(0.1, 0.0, 0.2, 9), "better"),),
        configuration={NASTY: {NASTY: [NASTY]}},
    )  # fmt: skip


def test_what_others_wrote_is_text_and_never_markup() -> None:
    tree = nasty_page()
    assert not tree.xpath("//img")
    assert len(tree.xpath("//script")) == len(tree.xpath("//style")) == 1
    assert not [
        name for one in tree.iter() for name in one.attrib if name.startswith("on") or name == "style"
    ]
    said = tree.text_content()
    assert said.count(NASTY) > 20
    assert tree.xpath("//article")[0].get("data-kind") == NASTY
    assert tree.xpath("//option")[1].get("value") == NASTY


def test_the_policy_admits_this_style_and_script_only() -> None:
    tree = page(PASSED)
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    for name in ("style", "script"):
        text = tree.xpath(f"//{name}")[0].text
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_nothing_is_fetched_and_every_link_leads_within() -> None:
    tree = nasty_page()
    addresses = tree.xpath("//@href | //@src | //@action | //@srcset | //@*[local-name()='href']")
    assert addresses
    assert all(address.startswith("#") for address in addresses)
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in addresses} <= set(ids)
    assert not tree.xpath("//link | //iframe | //object | //embed | //base")
    style = tree.xpath("//style")[0].text
    assert "url(" not in style
    assert "@import" not in style


def test_ids_are_unique_when_questions_share_theirs() -> None:
    tree = page(PASSED, PASSED, PASSED)
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert len(tree.xpath("//article")) == 3


def test_the_page_can_be_written_whatever_the_question_holds() -> None:
    text = render_report(Run({}, (replace(PASSED, question="\ud800\u202e?"),), ()), TEXTS)
    assert "\ufffd\ufffd?" in text
    assert text.encode("utf-8")


def test_the_same_run_makes_the_same_page() -> None:
    run = Run({"seed": 1}, (PASSED, replace(PASSED, answer=refused(), kind="other")), (METRIC,))
    assert render_report(run, TEXTS) == render_report(run, TEXTS)


def test_an_empty_run_says_so() -> None:
    said = words(page(metrics=()))
    assert "The run holds no question." in said
    assert "No metric was computed." in said
    assert "No baseline to compare with." in said
    assert not page(metrics=()).xpath("//svg")


def test_an_undefined_metric_says_why() -> None:
    tree = page(PASSED, metrics=(Metric("exact", None, None, 0, True, "", "no claims in the gold set"),))
    (row,) = tree.xpath("//table//tbody/tr[not(@class)]")
    assert words(row) == "exact undefined: no claims in the gold set"


def cells(tree: lxml.html.HtmlElement) -> list[list[str]]:
    return [[words(cell) for cell in row] for row in tree.xpath("//table//tbody/tr[not(@class)]")]


def test_the_summary_without_and_with_a_baseline() -> None:
    assert cells(page(PASSED)) == [["token_f1", "0.750", "0.500 to 0.900", "12"]]
    metrics = (
        METRIC,
        Metric("total_p50", 1420.4, Interval(1420.4, 1200, 1600, 12), 12, False, "ms"),
        Metric("new", 0.5, None, 3, True),
        Metric("verifier", None, None, 0, True, "", "no claims"),
    )
    differences = (
        Difference("token_f1", 0.8, 0.75, -0.05, Interval(-0.05, -0.09, -0.01, 12), "worse"),
        Difference(
            "total_p50", 1500.0, 1420.4, -79.6, Interval(-79.6, -200.0, 10.0, 12), "no difference seen"
        ),
        Difference("verifier", None, None, None, None, "no difference seen"),
    )
    tree = page(PASSED, metrics=metrics, differences=differences)
    assert cells(tree) == [
        ["token_f1", "0.750", "0.500 to 0.900", "12", "0.800", "−0.050 (−0.090 to −0.010)", "▼ worse"],
        [
            "total_p50 less is better", "1,420 ms", "1,200 to 1,600 ms", "12", "1,500 ms",
            "−80 ms (−200 to +10)", "○ no difference seen",
        ],
        ["new", "0.500", "none", "3", "not in the baseline"],
        ["verifier", "undefined: no claims", "undefined", "undefined", "○ no difference seen"],
    ]  # fmt: skip
    assert [words(one) for one in tree.xpath("//tr[@class='group']")] == ["Answers"]
    assert tree.xpath("//h2[@id='moved']")
    assert not page(PASSED).xpath("//h2[@id='moved']")


OUTCOMES: Sequence[tuple[bool, dict[str, Any] | None, dict[str, float], str, bool]] = [
    (True, answered(), {"correct": 1.0}, "right", False),
    (True, answered(), {"correct": 0.0}, "wrong-answer", True),
    (True, answered(), {}, "unscored", False),
    (True, refused(), {"correct": 0.0}, "refused-wrongly", True),
    (False, refused(), {}, "refused-rightly", False),
    (False, answered(), {"correct": 1.0}, "answered-wrongly", True),
    (True, None, {}, "unasked", False),
    (True, None, {"verdict": 0.0, "label": 0.0}, "judged-rightly", False),
    (False, None, {"verdict": 0.0, "label": 2.0}, "judged-wrongly", True),
    (False, None, {"figure_caught": 1.0}, "made-rightly", False),
    (True, None, {"verbatim_passed": 0.0}, "made-wrongly", True),
    (True, None, {"passage_recall@5": 1.0}, "found", False),
    (True, None, {"passage_recall@5": 0.5}, "missed", True),
]


@pytest.mark.parametrize(("answerable", "answer", "scores", "key", "wrong"), OUTCOMES)
def test_outcomes(
    answerable: bool, answer: dict[str, Any] | None, scores: dict[str, float], key: str, wrong: bool
) -> None:
    passed = replace(PASSED, answerable=answerable, answer=answer, scores=scores)
    assert outcome(passed).key == key
    (article,) = page(passed).xpath("//article")
    assert article.get("data-outcome") == key
    assert ("data-wrong" in article.attrib) == wrong


def test_the_heading_and_the_filters_count_what_there_is() -> None:
    cases = [
        replace(PASSED, answerable=answerable, answer=answer, scores=scores, kind="a" if n < 3 else "b")
        for n, (answerable, answer, scores, _, _) in enumerate(OUTCOMES[:7])
    ]
    tree = page(*cases)
    assert words(tree.xpath("//h1")[0]) == "2 of 5 questions went right"
    counts = {one.get("value"): words(one.getparent()) for one in tree.xpath("//input")}
    assert counts[""] == "all 7"
    assert counts["wrong"] == "wrong only 3"
    assert counts["refused-wrongly"] == "refused wrongly 1"
    assert set(counts) == {"", "wrong", *(key for _, _, _, key, _ in OUTCOMES[:7])}
    assert [words(one) for one in tree.xpath("//option")] == ["all kinds", "a (3)", "b (4)"]


def test_without_the_script_every_question_is_seen_and_no_filter() -> None:
    tree = page(PASSED, PASSED)
    assert not tree.xpath("//article[@hidden]")
    assert "hidden" in tree.xpath("//form")[0].attrib


def test_a_question_shows_history_answers_sentences_and_what_was_withheld() -> None:
    first, second = "It opened in 1874 [1].", "It keeps elephants [2]."
    answer = answered(f"{first} {second} Unchecked.", cited(1, 0, 32), cited(2, 33, 52))
    answer["sentences"] = [
        {"start": 0, "end": 22, "verdict": "supported", "score": 0.98, "citations": [1]},
        {"start": 23, "end": 46, "verdict": "supported", "score": 0.5, "citations": [2, 9]},
    ]
    answer["withheld"] = [{"text": "It has 900 bears.", "reason": "“900” stands nowhere"}]
    history = (Turn("user", "Which zoo?"), Turn("assistant", "Basel."))
    tree = page(replace(PASSED, answer=answer, history=history))
    assert [words(one) for one in tree.find_class("said")] == [
        f"{first} ✓ supported 98 % [1]",
        f"{second} ✓ supported 50 % [2] [9]",
        "Unchecked. – not checked",
    ]
    assert [words(one) for one in tree.find_class("withheld")] == ["It has 900 bears. ✗ “900” stands nowhere"]
    assert [words(one) for one in tree.xpath("//ol[@class='history']/li")] == [
        "user Which zoo?",
        "assistant Basel.",
    ]
    assert [words(one) for one in tree.xpath("//ul[@class='answers']/li")] == ["1874", "in 1874"]


def test_a_refusal_shows_its_reason_and_the_nearest_passages() -> None:
    near = cited(3, 55, 77) | {"text": TEXT[55:77], "score": 1.234}
    tree = page(replace(PASSED, answer=refused(nearest=[near])))
    assert words(tree.find_class("refusal")[0]) == "Refused: not stated."
    assert marked(tree) == [
        ("gold", 27, "1874", None),
        ("near", 55, "\nFlamingos breed there", "3"),
    ]
    assert words(tree.find_class("ranges")[0]) == (
        "gold: characters 27–31 · nearest (3), score 1.23: characters 55–77"
    )


def test_a_citation_that_is_not_exact_is_named() -> None:
    shifted = cited(1, 1, 33) | {"cited_text": TEXT[0:32]}
    lost = [cited(2, 0, 4, "gone"), cited(3, 90, 900), cited(4, 5, 5)]
    tree = page(replace(PASSED, answer=answered("In 1874 [1].", shifted, *lost)))
    said = [words(one) for one in tree.find_class("problem")]
    assert len(said) == 4
    assert "cited [2]: characters 0–4 of a document that is not at hand (gone)" in said[1]
    assert f"cited [3]: characters 90–900 do not exist: the document has {len(TEXT)}" in said[2]
    assert "cited [4]: characters 5–5 do not exist" in said[3]
    assert "citation [1] is not exact: it says “The zoo" in said[0]
    assert not page(PASSED).find_class("problem")


def test_alternatives_of_gold_are_numbered() -> None:
    passed = replace(PASSED, gold=((("zoo", 27, 31),), (("zoo", 0, 7),)))
    assert "gold, alternative 2: characters 0–7" in words(page(passed).find_class("ranges")[0])


def test_claims_show_what_the_verifier_said_of_them() -> None:
    claim = replace(PASSED, answer=None, confidence=None, gold=(), gold_answers=("not_supported",))
    cases = [
        replace(claim, scores={"verdict": 1.0, "label": 2.0}, answerable=False),
        replace(claim, scores={"verbatim_passed": 1.0}, gold_answers=()),
        replace(claim, scores={"name_caught": 0.0}, gold_answers=(), answerable=False),
    ]
    tree = page(*cases)
    assert words(tree.xpath("//h1")[0]) == "0 of 1 claim went right"
    assert [words(one) for one in tree.xpath("//article/dl")] == [
        "Gold not_supported Verdict partially supported",
        "Gold a true sentence of the page Verdict let through",
        "Gold a sentence made false Verdict let through",
    ]
    assert "unanswerable" not in words(tree.xpath("//article")[0])
    assert not tree.find_class("legend")
    assert page(PASSED).find_class("legend")


def test_a_run_of_retrieval_alone_has_its_score_by_kind() -> None:
    metrics = (Metric("recall@5", 0.5, None, 2, True),)
    cases = [
        replace(
            PASSED,
            answer=None,
            confidence=None,
            scores={"document_recall@1": 0.5, "recall@5": score},
            kind=kind,
        )
        for score, kind in ((1.0, "fact"), (0.0, "list"))
    ]
    metrics = (Metric("document_recall@1", 0.5, None, 2, True), *metrics)
    tree = page(*cases, metrics=metrics, kinds={"fact": metrics[1:], "list": metrics[1:]})
    titles = [words(one) for one in tree.xpath("//figure/h3")]
    assert titles == ["Weakest: list, 0 %; strongest: fact, 100 %"]
    assert "recall@5 by kind" in words(tree.xpath("//figcaption")[0])
    assert words(tree.xpath("//h1")[0]) == "2 questions"


def test_a_run_of_retrieval_alone_tells_what_was_missed() -> None:
    alone = replace(PASSED, answer=None, confidence=None)
    cases = [replace(alone, scores={"passage_recall@5": score}) for score in (1.0, 0.0, 1.0)]
    tree = page(*cases, replace(alone, scores={}, answerable=False, gold=(), gold_answers=()))
    assert words(tree.xpath("//h1")[0]) == "2 of 3 questions went right"
    assert len(tree.xpath("//article[@data-wrong]")) == 1
    assert "Questions whose evidence stands in the first five passages" in words(
        tree.xpath("//figcaption")[0]
    )


def test_the_plots_of_a_whole_run() -> None:
    cases = [
        replace(PASSED, confidence=confidence, scores={"correct": right})
        for confidence, right in ((0.9, 1.0), (0.8, 1.0), (0.4, 0.0), (0.3, 0.0))
    ]
    tree = page(*cases, replace(PASSED, answer=refused(), confidence=0.1))
    assert [words(one) for one in tree.xpath("//figure/h3")] == [
        "fact, 40 %",
        "50 % of all 4 answers are wrong, 0 % of the surest 50 %",
        "Confidence and truth lie 25 points apart on average",
        "Whole answer: half within 400 ms, 95 % within 400 ms",
    ]
    for picture in tree.xpath("//svg"):
        assert picture.get("role") == "img"
        assert len(picture.get("aria-label")) > 20


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * one for one in colour)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(scheme: int) -> None:
    css = resources.files("rag").joinpath("report.css").read_text(encoding="utf-8")
    colours = dict(
        re.findall(r"--([a-z-]+): #([0-9a-f]+)", re.findall(r":root \{(.*?)\}", css, re.S)[scheme])
    )
    for ground in ("paper", "sheet"):
        for ink in ("ink", "soft", "link", "good", "bad"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for line in ("hue", "gold-line", "cited-line", "both-line", "near-line"):
            assert contrast(colours[line], colours[ground]) >= 3, (line, ground)
    for ground in ("gold", "cited", "both", "near"):
        assert contrast(colours["ink"], colours[ground]) >= 4.5, ground
        assert contrast(colours[f"{ground}-line"], colours[ground]) >= 3, ground
