"""Every published format in small, what each loader makes of it, and that nothing wrong passes in silence."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from index.errors import UsageError
from rag.gold import GoldError, GoldSet, Problem, load_claims, load_gold
from rag.spans import Span, overlap, union
from rag.types import Turn

SEEDS = Path(__file__).resolve().parent.parent / "seeds"
# Read when the module is loaded: the fixtures clear FOOTNOTE_ variables before each test.
DATA = os.environ.get("FOOTNOTE_EVAL_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="FOOTNOTE_EVAL_DATA names no folder of published gold files")

Line = dict[str, Any]
Change = Callable[[Line], object]

ARTICLE = "They met in Kazan. The talks took three days.\n\nThree days later he left Kazan.\n"


def write_lines(path: Path, lines: list[Line]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def own(**changes: Any) -> Line:
    line = {
        "id": "q1",
        "question": "Where did they meet?",
        "answers": ["Kazan", "in Kazan"],
        "evidence": [{"document": "article.txt", "quote": "met in Kazan"}],
        "answerable": True,
        "kind": "fact",
    }
    return {**line, **changes}


def footnote(folder: Path, *lines: Line) -> Path:
    (folder / "article.txt").write_text(ARTICLE, encoding="utf-8")
    return write_lines(folder / "gold.jsonl", list(lines))


def problems(path: Path, format: Any = "footnote") -> list[tuple[str, str]]:
    with pytest.raises(GoldError) as caught:
        load_gold(path, format)
    return [(problem.place, problem.reason) for problem in caught.value.problems]


def check_quotes(gold: GoldSet) -> None:
    texts = {document.id: document.text for document in gold.documents}
    for question in gold.questions:
        assert bool(question.evidence_sets) is question.answerable
        for evidence in question.evidence:
            assert texts[evidence.document_id][evidence.start : evidence.end] == evidence.quote


# -- our own format -------------------------------------------------------------------------------


def test_footnote_line(tmp_path: Path) -> None:
    history = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."}]
    gold = load_gold(footnote(tmp_path, own(history=history)))
    (question,) = gold.questions
    (document,) = gold.documents
    assert (document.name, document.text, document.paragraphs) == ("article.txt", ARTICLE, ())
    assert question.answers == ("Kazan", "in Kazan")
    assert question.span_sets == ((Span(document.id, 5, 17),),)
    assert question.history == (Turn("user", "Hello"), Turn("assistant", "Hello."))
    assert (question.alternatives, question.passage, question.note) == (False, None, "")
    assert (gold.name, gold.format) == ("gold", "footnote")


@pytest.mark.parametrize(("kind", "sets"), [("fact", [1, 1]), ("two_passage", [2])])
def test_two_quotes_are_alternatives_unless_both_are_needed(
    tmp_path: Path, kind: str, sets: list[int]
) -> None:
    quotes = [{"document": "article.txt", "quote": quote} for quote in ("met in Kazan", "left Kazan")]
    (question,) = load_gold(footnote(tmp_path, own(kind=kind, evidence=quotes))).questions
    assert [len(one) for one in question.evidence_sets] == sets
    assert [evidence.quote for evidence in question.evidence] == ["met in Kazan", "left Kazan"]
    assert question.alternatives is (kind == "fact")


def test_document_offsets_are_those_of_the_reader(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>Out</p><p>They met &amp; spoke.</p>", encoding="utf-8")
    line = own(evidence=[{"document": "page.html", "quote": "met & spoke"}])
    gold = load_gold(write_lines(tmp_path / "gold.jsonl", [line]))
    check_quotes(gold)
    assert "<p>" not in gold.documents[0].text


def test_byte_order_mark_is_no_part_of_a_gold_file(tmp_path: Path) -> None:
    for path, format in ((footnote(tmp_path, own()), "footnote"), (squad(tmp_path), "squad")):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert load_gold(path, format).questions  # type: ignore[arg-type]


def test_digest_covers_the_gold_file_and_its_documents(tmp_path: Path) -> None:
    path = footnote(tmp_path, own())
    first = load_gold(path).sha256
    article = hashlib.sha256(ARTICLE.encode()).hexdigest()
    assert first == hashlib.sha256(path.read_bytes() + article.encode()).hexdigest()
    (tmp_path / "article.txt").write_text(ARTICLE + "More.", encoding="utf-8")
    assert load_gold(path).sha256 != first


BAD_LINES: list[tuple[Line, str]] = [
    (own(evidence=[{"document": "article.txt", "quote": "met in Moscow"}]), "does not stand in article.txt"),
    (own(evidence=[{"document": "article.txt", "quote": "Kazan"}]), "more than once"),
    (own(evidence=[{"document": "none.txt", "quote": "Kazan"}]), "none.txt does not exist"),
    (own(evidence=[{"document": "../article.txt", "quote": "Kazan"}]), "does not lie beside the gold file"),
    (own(evidence=[{"document": "article.txt", "quote": ""}]), "evidence[0].quote: "),
    (own(answers=[]), "so it needs answers and evidence"),
    (own(evidence=[]), "so it needs answers and evidence"),
    (own(answerable=False), "neither answers nor evidence"),
    (own(answerable="yes"), "answerable: "),
    (own(kind="yes_no"), 'is "yes" or "no"'),
    (own(kind="two_passage"), "needs two quotes or more"),
    (own(question=" "), "question: "),
    (own(answer="Kazan"), "answer: Extra inputs"),
    (own(history=[{"role": "system", "content": "x"}]), "history[0].role: "),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason for _, reason in BAD_LINES])
def test_bad_line_is_reported_with_its_reason(tmp_path: Path, line: Line, reason: str) -> None:
    ((place, found),) = problems(footnote(tmp_path, own(id="q0"), line))
    assert place == "line 2"
    assert reason in found


def test_all_bad_lines_are_in_one_error(tmp_path: Path) -> None:
    path = footnote(tmp_path, own(), own(), own(id="q3", answers=[]), own(id="q4", answers=[]))
    with path.open("ab") as file:
        file.write(b'\n{"id": \n{"id": "\xff"}\n')
    with pytest.raises(GoldError) as caught:
        load_gold(path)
    assert [problem.place for problem in caught.value.problems] == [
        "line 2", "line 3", "line 4", "line 6", "line 7",
    ]  # fmt: skip
    assert caught.value.problems[0] == Problem("line 2", "the id q1 is that of line 1")
    message = str(caught.value)
    assert "line 3 to line 4: it is answerable" in message
    assert all(problem.reason in message for problem in caught.value.problems)
    assert "\n" not in message
    assert (caught.value.code, caught.value.exit_code) == ("invalid_gold", 2)


def test_files_that_are_none(tmp_path: Path) -> None:
    empty = write_lines(tmp_path / "empty.jsonl", [])
    assert problems(empty) == [("", "there is no question in it")]
    assert "cannot be read" in problems(tmp_path / "missing.jsonl")[0][1]
    (tmp_path / "folder").mkdir()
    assert problems(tmp_path / "folder") == [("", "there is no .jsonl file in this folder")]
    assert "cannot be read" in problems(tmp_path / "folder", "squad")[0][1]


def test_a_folder_of_lines_and_its_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    footnote(tmp_path, own())
    write_lines(tmp_path / "more.jsonl", [own(id="q2")])
    monkeypatch.chdir(tmp_path)
    gold = load_gold(Path())
    assert [question.id for question in gold.questions] == ["q1", "q2"]
    assert [document.name for document in gold.documents] == ["article.txt"]
    assert gold.name == tmp_path.name
    (tmp_path / "more.jsonl").write_text("{\n")
    with pytest.raises(GoldError, match=rf"^{tmp_path.name} is no sound gold file: .*more.jsonl line 1: "):
        load_gold(Path())


def test_questions_of_no_document_are_refused(tmp_path: Path) -> None:
    nothing = own(answers=[], evidence=[], answerable=False)
    assert "it names no document" in problems(footnote(tmp_path, nothing))[0][1]


def test_where_a_line_is_no_json(tmp_path: Path) -> None:
    path = footnote(tmp_path, own())
    path.write_bytes(path.read_bytes() + b'{"id": "x", "question"\n\n\xff\xfe\nnull\n')
    assert problems(path) == [
        ("line 2", "Invalid JSON: EOF while parsing an object at column 22"),
        ("line 4", "Invalid JSON: expected value at column 1"),
        ("line 5", "Input should be an object"),
    ]


def test_a_file_of_another_format_is_told_from_one_with_a_bad_line(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text('{"version": "v2.0", "data": []}\n')
    with pytest.raises(GoldError, match=r"if it is of another format, name that with --format$"):
        load_gold(tmp_path / "dev.json")
    with pytest.raises(GoldError, match="line 2") as caught:
        load_gold(footnote(tmp_path, own(), {}))
    assert "--format" not in str(caught.value)


def test_unknown_format_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no gold format wice"):
        load_gold(tmp_path, "wice")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="only articles of the format squad"):
        load_gold(tmp_path, "clapnq", divide=True)


# -- SQuAD ----------------------------------------------------------------------------------------

FIRST, SECOND = "Rollo was a Norse leader.", "He ruled Normandy, in France."


def squad(folder: Path, *changes: Change, version_two: bool = True) -> Path:
    def question(id: str, *answers: tuple[str, int]) -> Line:
        asked: Line = {"id": id, "question": f"Question {id}?"}
        asked["answers"] = [{"text": text, "answer_start": start} for text, start in answers]
        if version_two:
            asked |= {"is_impossible": not answers, "plausible_answers": []}
        return asked

    first = [question("a", ("Rollo", 0), ("Rollo", 0), ("Norse", 12))]
    second = [question("b", ("France", 22)), *([question("c")] if version_two else [])]
    paragraphs = [{"context": FIRST, "qas": first}, {"context": SECOND, "qas": second}]
    file: Line = {"version": "v2.0", "data": [{"title": "Duke_Rollo", "paragraphs": paragraphs}]}
    for change in changes:
        change(file)
    path = folder / "squad.json"
    path.write_text(json.dumps(file), encoding="utf-8")
    return path


def test_squad_article_is_one_document(tmp_path: Path) -> None:
    gold = load_gold(squad(tmp_path), "squad")
    (document,) = gold.documents
    assert (document.name, document.title) == ("Duke_Rollo", "Duke Rollo")
    assert document.text == f"{FIRST}\n\n{SECOND}"
    assert document.paragraphs == (Span(document.id, 0, 25), Span(document.id, 27, 56))
    a, b, c = gold.questions
    assert a.answers == ("Rollo", "Norse")
    assert a.span_sets == ((Span(document.id, 0, 5),), (Span(document.id, 12, 17),))
    assert a.passage == document.paragraphs[0]
    assert b.span_sets == ((Span(document.id, 49, 55),),)
    assert b.passage == document.paragraphs[1]
    assert (c.answerable, c.answers, c.evidence_sets, c.passage, c.kind) == (
        False,
        (),
        (),
        None,
        "unanswerable",
    )
    check_quotes(gold)


def test_squad_divided_into_paragraphs(tmp_path: Path) -> None:
    gold = load_gold(squad(tmp_path), "squad", divide=True)
    assert [document.name for document in gold.documents] == ["Duke_Rollo 1", "Duke_Rollo 2"]
    assert [document.text for document in gold.documents] == [FIRST, SECOND]
    assert gold.questions[1].span_sets == ((Span(gold.documents[1].id, 22, 28),),)
    assert gold.questions[1].passage == Span(gold.documents[1].id, 0, 29)


def test_squad_1_1_has_answers_only(tmp_path: Path) -> None:
    gold = load_gold(squad(tmp_path, version_two=False), "squad")
    assert [question.answerable for question in gold.questions] == [True, True]


def _qas(file: Line) -> list[Line]:
    found: list[Line] = file["data"][0]["paragraphs"][1]["qas"]
    return found


BAD_SQUAD: list[tuple[Change, str]] = [
    (lambda f: _qas(f)[0]["answers"][0].update(answer_start=21), "“France” does not stand at 21"),
    (lambda f: _qas(f)[0]["answers"][0].update(answer_start=-7), "“France” does not stand at -7"),
    (lambda f: _qas(f)[0]["answers"][0].update(answer_start="22"), "answers[0].answer_start: "),
    (lambda f: _qas(f)[0].update(answers=[]), "not marked is_impossible"),
    (lambda f: _qas(f)[0].update(is_impossible=True), "it can have no answers"),
    (lambda f: _qas(f)[0].update(id="a"), "the id a is that of data[0].paragraphs[0].qas[0]"),
    (lambda f: _qas(f)[0].pop("question"), "question: Field required"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_SQUAD, ids=[reason for _, reason in BAD_SQUAD])
def test_bad_squad_question(tmp_path: Path, change: Change, reason: str) -> None:
    ((place, found),) = problems(squad(tmp_path, change), "squad")
    assert place == "data[0].paragraphs[1].qas[0]"
    assert reason in found


def test_bad_squad_file(tmp_path: Path) -> None:
    def no_context(file: Line) -> None:
        del file["data"][0]["paragraphs"][1]["context"]

    assert problems(squad(tmp_path, no_context), "squad") == [
        ("data[0].paragraphs[1].context", "Field required")
    ]
    (tmp_path / "squad.json").write_text('{"data": [')
    assert "Invalid JSON" in problems(tmp_path / "squad.json", "squad")[0][1]


# -- CLAPNQ ---------------------------------------------------------------------------------------

CATS = ["Cats purr .", "Dogs bark .", "Cats sleep ."]


def clapnq(
    id: str, *outputs: tuple[str, list[str]], title: str = "Cats", sentences: list[str] = CATS
) -> Line:
    return {
        "id": id,
        "input": "what do cats do",
        "passages": [{"title": title, "text": " ".join(sentences) + " ", "sentences": sentences}],
        "output": [{"answer": a, "selected_sentences": s, "meta": {"skip": not a}} for a, s in outputs],
    }


def test_clapnq_selected_sentences_are_needed_together(tmp_path: Path) -> None:
    both = ("They purr and sleep.", [CATS[0], CATS[2]])
    skipped: tuple[str, list[str]] = ("", [])
    lines = [
        clapnq("1", both, skipped),
        clapnq("2", both, ("They purr.", [CATS[0]])),
        clapnq("3", skipped, sentences=["Birds sing ."]),
    ]
    gold = load_gold(write_lines(tmp_path / "clapnq.jsonl", lines), "clapnq")
    one, two, three = gold.questions
    cats = gold.documents[0].id
    needed = (Span(cats, 0, 11), Span(cats, 24, 36))
    assert (one.answers, one.span_sets) == (("They purr and sleep.",), (needed,))
    assert two.span_sets == (needed, (Span(cats, 0, 11),))
    assert one.passage == Span(cats, 0, 37)
    assert (three.answerable, three.answers, three.passage) == (False, (), None)
    # The same passage twice is one document; another one of the same title gets a name of its own.
    assert [(d.name, d.title) for d in gold.documents] == [("Cats", "Cats"), ("Cats (3)", "Cats")]
    check_quotes(gold)


def test_clapnq_folder_is_read_whole(tmp_path: Path) -> None:
    good, bad = clapnq("1", ("Purr.", [CATS[0]])), clapnq("1", ("", []))
    write_lines(tmp_path / "b.jsonl", [bad])
    write_lines(tmp_path / "a.jsonl", [good])
    assert problems(tmp_path, "clapnq") == [("b.jsonl line 1", "the id 1 is that of a.jsonl line 1")]
    write_lines(tmp_path / "b.jsonl", [{**bad, "id": "2"}])
    assert [q.id for q in load_gold(tmp_path, "clapnq").questions] == ["1", "2"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (clapnq("2", ("Moo.", ["Cows moo ."])), "“Cows moo .” is none of the passage"),
        (clapnq("2", ("Purr.", [])), "an answer without selected sentences"),
        (clapnq("2", ("Purr.", [CATS[0]])) | {"passages": []}, "it has 0 passages, not one"),
        (clapnq("2") | {"input": ""}, "input: "),
    ],
)
def test_bad_clapnq_line(tmp_path: Path, line: Line, reason: str) -> None:
    path = write_lines(tmp_path / "clapnq.jsonl", [clapnq("1", ("Purr.", [CATS[0]])), line])
    ((place, found),) = problems(path, "clapnq")
    assert place == "line 2"
    assert reason in found


def test_clapnq_sentence_that_is_not_in_the_text(tmp_path: Path) -> None:
    line = clapnq("1", ("Purr.", [CATS[0]]))
    line["passages"][0]["sentences"] = CATS[::-1]
    found = problems(write_lines(tmp_path / "clapnq.jsonl", [line]), "clapnq")
    assert [reason for _, reason in found][:1] == [
        "the sentence “Dogs bark .” does not stand in the text, or not in order"
    ]


# -- chunking_evaluation --------------------------------------------------------------------------

SPEECH = "# Speech\n\nWe cut “fees”.\nWe built roads.\n"


def chunking(folder: Path, *rows: tuple[str, object, str], header: str = "references") -> Path:
    (folder / "speech.md").write_text(SPEECH, encoding="utf-8", newline="")
    path = folder / "questions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", header, "corpus_id"])
        writer.writerows((q, r if isinstance(r, str) else json.dumps(r), c) for q, r, c in rows)
    return path


def reference(content: str, start: int) -> Line:
    return {"content": content, "start_index": start, "end_index": start + len(content)}


def test_chunking_row(tmp_path: Path) -> None:
    references = [reference("We built roads.", 25), reference("We cut “fees”.", 10)]
    gold = load_gold(chunking(tmp_path, ("What was done,\nand how?", references, "speech")), "chunking")
    (question,) = gold.questions
    (document,) = gold.documents
    assert document.text == SPEECH
    assert (question.id, question.question, question.kind) == ("row-2", "What was done,\nand how?", "speech")
    assert question.span_sets == ((Span(document.id, 25, 40), Span(document.id, 10, 24)),)
    assert (question.answers, question.answerable) == ((), True)
    check_quotes(gold)


def test_bad_chunking_rows(tmp_path: Path) -> None:
    path = chunking(
        tmp_path,
        ("One?", [reference("We cut “fees”.", 10)], "speech"),
        ("Two?", [reference("We cut “fees”.", 11)], "speech"),
        ("Three?", [reference("We built roads.", 25)], "novel"),
        ("", [], "speech"),
        ("Five?", "[{]", "speech"),
        ("Six?", [reference("We built roads.", 25)], "../speech"),
    )
    found = problems(path, "chunking")
    assert [place for place, _ in found] == ["row 3", "row 4", "row 5", "row 5", "row 6", "row 7"]
    assert found[0][1] == "“We cut “fees”.” does not stand at 11 to 25 in speech.md"
    assert "novel.md does not exist" in found[1][1]
    assert [reason for _, reason in found[2:4]] == ["question is empty", "references is empty"]
    assert found[4][1].startswith("references: Invalid JSON")
    assert "does not lie beside" in found[5][1]


def test_bad_chunking_files(tmp_path: Path) -> None:
    assert problems(chunking(tmp_path, header="refs"), "chunking") == [
        ("", "row 1 names no column references")
    ]
    (tmp_path / "questions.csv").write_bytes(b"question,references,corpus_id\n\xff,,\n")
    assert problems(tmp_path / "questions.csv", "chunking") == [("", "it is not UTF-8 at byte 30")]
    (tmp_path / "questions.csv").write_text('question,references,corpus_id\n"open,,\n')
    assert "the CSV is broken at line 2" in problems(tmp_path / "questions.csv", "chunking")[0][1]


# -- WiCE -----------------------------------------------------------------------------------------


def wice(id: str, label: str, supporting: list[list[int]]) -> Line:
    return {
        "label": label,
        "supporting_sentences": supporting,
        "claim": "Arnold is the publisher.",
        "evidence": ["Skip to content", "Thomas Arnold, Publisher"],
        "meta": {"id": id, "claim_title": "Arnold", "claim_section": "", "claim_context": "He wrote."},
    }


def test_wice_claims(tmp_path: Path) -> None:
    lines = [wice("a", "supported", [[1], [0, 1], [1]]), wice("b", "not_supported", [[]])]
    claims = load_claims(write_lines(tmp_path / "wice.jsonl", lines))
    assert [(c.id, c.label, c.supporting) for c in claims.claims] == [
        ("a", "supported", ((1,), (0, 1))),
        ("b", "not_supported", ()),
    ]
    assert claims.claims[0].sentences == ("Skip to content", "Thomas Arnold, Publisher")
    assert (claims.claims[0].title, claims.claims[0].context) == ("Arnold", "He wrote.")
    assert claims.sha256 == hashlib.sha256((tmp_path / "wice.jsonl").read_bytes()).hexdigest()


def test_bad_wice_lines(tmp_path: Path) -> None:
    lines = [
        wice("a", "supported", [[1, 2]]),
        wice("b", "supported", [[]]),
        wice("c", "refuted", [[1]]),
        wice("a", "supported", [[0]]),
    ]
    with pytest.raises(GoldError) as caught:
        load_claims(write_lines(tmp_path / "wice.jsonl", lines))
    found = [(problem.place, problem.reason) for problem in caught.value.problems]
    assert found[:2] == [
        ("line 1", "supporting sentence 2 is not among the 2 given"),
        ("line 2", "the claim is supported, but by no sentence"),
    ]
    assert found[2][1].startswith("label: ")
    assert found[3] == ("line 4", "the id a is that of line 1")
    with pytest.raises(GoldError, match="there is no claim in it"):
        load_claims(write_lines(tmp_path / "wice.jsonl", []))


# -- ranges ---------------------------------------------------------------------------------------


def test_union_of_spans() -> None:
    spans = [Span("b", 0, 2), Span("a", 5, 9), Span("a", 3, 6), Span("a", 9, 10), Span("a", 12, 12)]
    assert union(spans) == (Span("a", 3, 10), Span("b", 0, 2))


def test_overlap_counts_each_character_once() -> None:
    one = [Span("a", 0, 10), Span("a", 5, 12), Span("b", 0, 4)]
    other = [Span("a", 8, 20), Span("a", 8, 9), Span("c", 0, 4)]
    assert overlap(one, other) == (16, 16, 4)
    assert overlap(one, []) == (16, 0, 0)


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2)])
def test_span_that_is_none(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="no range"):
        Span("a", start, end)


# -- the real files -------------------------------------------------------------------------------


def test_seeds() -> None:
    gold = load_gold(SEEDS / "gold.jsonl")
    check_quotes(gold)
    assert len(gold.documents) == 1
    assert all(len(q.evidence_sets) == 1 for q in gold.questions if q.kind == "two_passage")


@needs_data
@pytest.mark.parametrize(
    ("path", "format", "questions", "answerable", "documents"),
    [
        ("squad2/dev-half.json", "squad", 2828, 1299, 8),
        ("xquad/xquad.en.json", "squad", 1190, 1190, 48),
        ("clapnq", "clapnq", 300, 150, 298),
        ("chunking_evaluation/questions.csv", "chunking", 276, 276, 3),
    ],
)
def test_published_files(path: str, format: Any, questions: int, answerable: int, documents: int) -> None:
    gold = load_gold(Path(DATA) / path, format)
    check_quotes(gold)
    assert len(gold.questions) == questions
    assert sum(question.answerable for question in gold.questions) == answerable
    assert len(gold.documents) == documents


@needs_data
def test_published_paragraphs() -> None:
    assert len(load_gold(Path(DATA) / "squad2/dev-half.json", "squad", divide=True).documents) == 301
    articles = load_gold(Path(DATA) / "squad2/dev-half.json", "squad").documents
    assert sum(len(article.paragraphs) for article in articles) == 301


@needs_data
def test_published_claims() -> None:
    claims = load_claims(Path(DATA) / "wice/claim_dev.jsonl").claims
    assert Counter(claim.label for claim in claims) == {
        "supported": 115, "partially_supported": 191, "not_supported": 43,
    }  # fmt: skip
