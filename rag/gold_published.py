"""The gold files that others publish: SQuAD and XQuAD, CLAPNQ, chunking_evaluation, WiCE."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import TypeAdapter, ValidationError

from index.errors import DocumentError
from rag.gold_reading import Gathering, Record, Text, json_path, reasons_of, shortened, unused_name
from rag.gold_types import Claim, GoldEvidence, Label, Question
from rag.spans import Span

LONG_ANSWER = "long_answer"
"""The kind of questions whose gold answers are sentences of an annotator's own."""

UNANSWERABLE = "unanswerable"
"""The kind of unanswerable questions in formats that know no kinds."""


class _SquadAnswer(Record):
    text: str
    answer_start: int


class _SquadQuestion(Record):
    id: Text
    question: Text
    answers: list[_SquadAnswer]
    is_impossible: bool = False


class _SquadParagraph(Record):
    context: Text
    qas: list[Any]


class _SquadArticle(Record):
    title: str = ""
    paragraphs: list[_SquadParagraph]


class _SquadFile(Record):
    data: list[_SquadArticle]


class _ClapnqPassage(Record):
    title: str
    text: Text
    sentences: list[Text]


class _ClapnqOutput(Record):
    answer: str
    selected_sentences: list[str]


class _ClapnqLine(Record):
    id: Text
    input: Text
    passages: list[_ClapnqPassage]
    output: list[_ClapnqOutput]


class _Reference(Record):
    content: Text
    start_index: int
    end_index: int


_REFERENCES = TypeAdapter(list[_Reference])


class _WiceMeta(Record):
    id: Text
    claim_title: str = ""
    claim_context: str = ""


class _WiceLine(Record):
    label: Label
    supporting_sentences: list[list[int]]
    claim: Text
    evidence: list[str]
    meta: _WiceMeta


def read_squad(gathering: Gathering, *, divide: bool = False) -> None:
    try:
        file = _SquadFile.model_validate_json(gathering.read(gathering.path).removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            gathering.wrong(json_path(detail["loc"]), [detail["msg"]])
        gathering.stop_if_wrong()
        raise
    names: set[str] = set()
    for number, article in enumerate(file.data):
        place = f"data[{number}]"
        name = unused_name(article.title or f"article {number + 1}", names)
        title = article.title.replace("_", " ")
        texts = [paragraph.context for paragraph in article.paragraphs]
        ranges = list(_joined(texts))
        try:
            if divide:
                parts = [
                    gathering.add_text(unused_name(f"{name} {i}", names), title, text, [(0, len(text))])
                    for i, text in enumerate(texts, 1)
                ]
                spans = [Span(part.id, 0, len(part.text)) for part in parts]
            elif texts:
                whole = gathering.add_text(name, title, "\n\n".join(texts), ranges)
                spans = [Span(whole.id, start, end) for start, end in ranges]
        except DocumentError as error:
            gathering.wrong(place, [str(error)])
            continue
        for index, paragraph in enumerate(article.paragraphs):
            for position, raw in enumerate(paragraph.qas):
                where = f"{place}.paragraphs[{index}].qas[{position}]"
                try:
                    asked = _SquadQuestion.model_validate(raw)
                except ValidationError as error:
                    gathering.wrong(where, reasons_of(error))
                    continue
                _add_squad(gathering, where, asked, paragraph.context, spans[index])


def _add_squad(gathering: Gathering, place: str, asked: _SquadQuestion, context: str, passage: Span) -> None:
    fresh = gathering.is_new(place, asked.id)
    reasons = []
    found: dict[GoldEvidence, None] = {}
    for answer in asked.answers:
        start, end = answer.answer_start, answer.answer_start + len(answer.text)
        if not answer.text.strip():
            reasons.append("an answer is empty")
        elif start < 0 or context[start:end] != answer.text:
            reasons.append(f"the answer {shortened(answer.text)} does not stand at {start} in its paragraph")
        else:
            shift = passage.start
            found[GoldEvidence(passage.document_id, shift + start, shift + end, answer.text)] = None
    if asked.is_impossible and asked.answers:
        reasons.append("it is impossible, so it can have no answers")
    if not asked.is_impossible and not asked.answers:
        reasons.append("it has no answers, but is not marked is_impossible")
    gathering.wrong(place, dict.fromkeys(reasons))
    if fresh and not reasons:
        gathering.questions.append(
            Question(
                id=asked.id,
                question=asked.question,
                answers=tuple(dict.fromkeys(answer.text for answer in asked.answers)),
                evidence_sets=tuple((evidence,) for evidence in found),
                answerable=not asked.is_impossible,
                kind=UNANSWERABLE if asked.is_impossible else "span",
                passage=None if asked.is_impossible else passage,
            )
        )


def read_clapnq(gathering: Gathering) -> None:
    """Each annotator's selected sentences are one set; an annotator who skipped the question left none."""
    names: set[str] = set()
    for place, line in gathering.lines(_ClapnqLine):
        fresh = gathering.is_new(place, line.id)
        if len(line.passages) != 1:
            gathering.wrong(place, [f"it has {len(line.passages)} passages, not one"])
            continue
        passage = line.passages[0]
        try:
            name = unused_name(passage.title or line.id, names)
            document = gathering.add_text(name, passage.title, passage.text, [(0, len(passage.text))])
        except DocumentError as error:
            gathering.wrong(place, [str(error)])
            continue
        reasons, ranges = _sentence_ranges(passage)
        given = [output for output in line.output if output.answer.strip()]
        sets: dict[tuple[GoldEvidence, ...], None] = {}
        for output in given:
            missing = [sentence for sentence in output.selected_sentences if sentence not in ranges]
            reasons += [f"the selected sentence {shortened(s)} is none of the passage" for s in missing]
            if not output.selected_sentences:
                reasons.append("there is an answer without selected sentences")
            if not missing:
                spans = dict.fromkeys(ranges[sentence] for sentence in output.selected_sentences)
                sets[tuple(GoldEvidence(document.id, a, b, passage.text[a:b]) for a, b in spans)] = None
        gathering.wrong(place, dict.fromkeys(reasons))
        if fresh and not reasons:
            gathering.questions.append(
                Question(
                    id=line.id,
                    question=line.input,
                    answers=tuple(dict.fromkeys(output.answer for output in given)),
                    evidence_sets=tuple(sets),
                    answerable=bool(given),
                    kind=LONG_ANSWER if given else UNANSWERABLE,
                    passage=Span(document.id, 0, len(passage.text)) if given else None,
                )
            )


def _sentence_ranges(passage: _ClapnqPassage) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """Where each sentence stands, the first time it does; and what is wrong with them."""
    reasons: list[str] = []
    ranges: dict[str, tuple[int, int]] = {}
    position = 0
    for sentence in passage.sentences:
        start = passage.text.find(sentence, position)
        if start < 0:
            reasons.append(f"the sentence {shortened(sentence)} does not stand in the text, or not in order")
            continue
        position = start + len(sentence)
        ranges.setdefault(sentence, (start, position))
    return reasons, ranges


def read_chunking(gathering: Gathering) -> None:
    """All references of a row are needed. Rows count as in a spreadsheet, from 1, the header among them."""
    try:
        text = gathering.read(gathering.path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise gathering.refuse(f"it is not UTF-8 at byte {error.start}") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [c for c in ("question", "references", "corpus_id") if c not in (rows.fieldnames or ())]
        if columns:
            raise gathering.refuse(f"row 1 names no column {', '.join(columns)}")
        for number, row in enumerate(rows, 2):
            _add_chunking(gathering, number, row)
    except csv.Error as error:
        raise gathering.refuse(f"the CSV is broken at line {rows.reader.line_num}: {error}") from error


def _add_chunking(gathering: Gathering, number: int, row: dict[str, str | None]) -> None:
    place = f"row {number}"
    question, corpus = (row["question"] or "").strip(), (row["corpus_id"] or "").strip()
    given = {"question": question, "corpus_id": corpus}
    reasons = [f"{name} is empty" for name, value in given.items() if not value]
    try:
        references = _REFERENCES.validate_json(row["references"] or "")
    except ValidationError as error:
        gathering.wrong(place, [*reasons, *(f"references: {reason}" for reason in reasons_of(error))])
        return
    if not references:
        reasons.append("references is empty")
    found: list[GoldEvidence] = []
    if corpus:
        try:
            document = gathering.add_file(f"{corpus}.md")
        except DocumentError as error:
            gathering.wrong(place, [*reasons, str(error)])
            return
        for reference in references:
            start, end = reference.start_index, reference.end_index
            if start < 0 or document.text[start:end] != reference.content:
                where = f"at {start} to {end} in {corpus}.md"
                reasons.append(f"{shortened(reference.content)} does not stand {where}")
            else:
                found.append(GoldEvidence(document.id, start, end, reference.content))
    gathering.wrong(place, reasons)
    if not reasons:
        gathering.questions.append(Question(f"row-{number}", question, (), (tuple(found),), True, corpus))


def read_wice(gathering: Gathering) -> tuple[Claim, ...]:
    """An unsupported claim carries an empty set, which supports nothing; annotators may agree on a set."""
    claims: list[Claim] = []
    for place, line in gathering.lines(_WiceLine):
        fresh = gathering.is_new(place, line.meta.id)
        sets = tuple(dict.fromkeys(tuple(indices) for indices in line.supporting_sentences if indices))
        beyond = sorted({i for indices in sets for i in indices if not 0 <= i < len(line.evidence)})
        reasons = [f"supporting sentence {i} is not among the {len(line.evidence)} given" for i in beyond]
        if line.label != "not_supported" and not sets:
            reasons.append(f"the claim is {line.label}, but by no sentence")
        gathering.wrong(place, reasons)
        if fresh and not reasons:
            claims.append(
                Claim(
                    id=line.meta.id,
                    text=line.claim,
                    label=line.label,
                    sentences=tuple(line.evidence),
                    supporting=sets,
                    title=line.meta.claim_title,
                    context=line.meta.claim_context,
                )
            )
    return tuple(claims)


def _joined(texts: Iterable[str]) -> Iterator[tuple[int, int]]:
    """The range of each text when they are joined by blank lines."""
    start = 0
    for text in texts:
        yield start, start + len(text)
        start += len(text) + len("\n\n")
