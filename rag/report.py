"""An evaluation run as one HTML page that needs nothing else: numbers, plots, and every question.

The page holds no address but its own anchors. Its policy admits one style and one script, by their
digests, so that nothing a document or a model wrote can run or load anything, were it to slip through.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rag.confidence import Interval, bootstrap_mean
from rag.measures import LABELS, MEASURES
from rag.report_marks import Excerpt, Mark, excerpts, shown
from rag.report_plots import (
    SIGNS,
    Plot,
    calibration_plot,
    difference_plots,
    kind_plot,
    latency_plot,
    number,
    percent,
    risk_coverage_plot,
    unmoved,
)
from rag.results import Difference, Metric, Passed, Run

CORRECT = "correct"
"""The score of a question that says whether the given answer is right: 1 or 0."""

RECALL = "passage_recall@5"
"""The score that says how much of the evidence was found, where nothing was answered: all of it from 1 on."""

Texts = Mapping[str, tuple[str, str]]
"""Title and text of each document by its id."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a question. `key` names it in the page; `right` is None where nothing was judged."""

    key: str
    sign: str
    label: str
    right: bool | None


RIGHT = Outcome("right", "✓", "right answer", True)
WRONG = Outcome("wrong-answer", "✗", "wrong answer", False)
REFUSED_RIGHTLY = Outcome("refused-rightly", "✓", "refused, rightly", True)
REFUSED_WRONGLY = Outcome("refused-wrongly", "⊘", "refused wrongly", False)
ANSWERED_WRONGLY = Outcome("answered-wrongly", "✗", "answered, should have refused", False)
JUDGED_RIGHTLY = Outcome("judged-rightly", "✓", "judged rightly", True)
JUDGED_WRONGLY = Outcome("judged-wrongly", "✗", "judged wrongly", False)
MADE_RIGHTLY = Outcome("made-rightly", "✓", "made sentence, judged rightly", True)
MADE_WRONGLY = Outcome("made-wrongly", "✗", "made sentence, judged wrongly", False)
FOUND = Outcome("found", "✓", "evidence found", True)
MISSED = Outcome("missed", "✗", "evidence missed", False)
UNSCORED = Outcome("unscored", "·", "answered, not scored", None)
UNASKED = Outcome("unasked", "·", "nothing to be found", None)
OUTCOMES = (
    RIGHT,
    WRONG,
    REFUSED_WRONGLY,
    REFUSED_RIGHTLY,
    ANSWERED_WRONGLY,
    JUDGED_RIGHTLY,
    JUDGED_WRONGLY,
    MADE_RIGHTLY,
    MADE_WRONGLY,
    FOUND,
    MISSED,
    UNSCORED,
    UNASKED,
)

TIMES = {"first_evidence": "first evidence", "first_token": "first token", "total": "whole answer"}


@dataclass(frozen=True, slots=True)
class Said:
    """A stretch of the answer: a sentence with the numbers of its citations, or what is none (no verdict)."""

    text: str
    verdict: str
    score: float | None
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A document as one question sees it: its marked ranges in words, then in their text."""

    id: str
    title: str
    ranges: tuple[str, ...]
    excerpts: tuple[Excerpt, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One question as the page shows it; `anchors` lead from a citation's number to its source. `verdict`
    is what the verifier said of a claim, "" for a question."""

    id: str
    passed: Passed
    outcome: Outcome
    verdict: str
    said: tuple[Said, ...]
    sources: tuple[Source, ...]
    anchors: Mapping[int, str]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the summary: a metric of the run and, with a baseline, how it moved."""

    metric: Metric
    difference: Difference | None


def outcome(passed: Passed) -> Outcome:
    """What became of the question, by its answer's status and its score `CORRECT`; what became of a claim,
    by its verdict."""
    if passed.answer is None:
        return _unanswered(passed)
    if passed.answer["status"] != "answered":
        return REFUSED_WRONGLY if passed.answerable else REFUSED_RIGHTLY
    if not passed.answerable:
        return ANSWERED_WRONGLY
    score = passed.scores.get(CORRECT)
    return UNSCORED if score is None else RIGHT if score >= 0.5 else WRONG


def _unanswered(passed: Passed) -> Outcome:
    if verdict := _verdict(passed):
        if "verdict" in passed.scores:
            return JUDGED_RIGHTLY if verdict.right else JUDGED_WRONGLY
        return MADE_RIGHTLY if verdict.right else MADE_WRONGLY
    found = passed.scores.get(RECALL)
    return UNASKED if found is None else FOUND if found >= 1 else MISSED


@dataclass(frozen=True, slots=True)
class _Verdict:
    said: str
    right: bool


def _verdict(passed: Passed) -> _Verdict | None:
    """What the verifier said of a claim (see rag.claims), and whether that is right; None for a question."""
    scores = passed.scores
    if "verdict" in scores:
        said = LABELS[int(scores["verdict"])].replace("_", " ")
        return _Verdict(said, scores["verdict"] == scores["label"])
    for name, score in scores.items():
        if name.endswith(("_passed", "_caught")):
            stopped = (score == 1) == name.endswith("_caught")
            return _Verdict("stopped" if stopped else "let through", score == 1)
    return None


def heading(questions: Sequence[Passed]) -> str:
    """How many went right, of those that could be judged: what the page is headed with. Sentences that
    were made from a claim's page are no claims of anybody's."""
    outcomes = [one for one in map(outcome, questions) if one not in (MADE_RIGHTLY, MADE_WRONGLY)]
    judged = [one.right for one in outcomes if one.right is not None]
    count, noun = len(judged or questions), _noun(questions)
    of_all = f"{count} {noun}{'' if count == 1 else 's'}"
    return f"{sum(judged)} of {of_all} went right" if judged else of_all


def _noun(questions: Sequence[Passed]) -> str:
    """What was put to the program: questions, or claims to the verifier alone."""
    are_claims = questions and all(not one.answer and _verdict(one) for one in questions)
    return "claim" if are_claims else "question"


def render_report(run: Run, texts: Texts) -> str:
    """The page, the same for the same run; `texts` are the documents that questions, answers and gold name.

    What a run says of a document that is not in `texts`, or of characters that it does not have, is
    reported beside the question.
    """
    style, script = _resource("report.css"), _resource("report.js")
    cases = [_case(index, passed, texts) for index, passed in enumerate(run.questions, 1)]
    # Not by a file loader: the page is one template, and it is read as the package's other data are.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_finalize
    )
    environment.filters.update(number=number, percent=percent)
    counts = Counter(case.outcome for case in cases)
    return environment.from_string(_resource("report.html")).render(
        style=Markup(style),
        script=Markup(script),
        policy=Markup(_policy(style, script)),
        configuration=list(_flat(run.configuration)),
        groups=_groups(run),
        compared=bool(run.differences),
        signs=SIGNS,
        counts=[(one, counts[one]) for one in OUTCOMES if counts[one]],
        noun=_noun(run.questions),
        heading=heading(run.questions),
        plots=_plots(run, cases),
        moved=difference_plots(run.differences, run.metrics),
        unmoved=unmoved(run.differences),
        cases=cases,
        marked=any(case.sources for case in cases),
        kinds=sorted(Counter(passed.kind for passed in run.questions).items()),
    )


def report_policy() -> str:
    """The policy of the page, for who serves it: its style, its script, and nothing else."""
    return _policy(_resource("report.css"), _resource("report.js"))


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return resources.files("rag").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _finalize(value: object) -> object:
    """Every string that enters the page, whoever wrote it."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _flat(configuration: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in configuration.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield f"{above}{name}", text


def _groups(run: Run) -> list[tuple[str, list[Row]]]:
    """The summary's rows under what they are about; "" for a metric that this version does not know."""
    differences = {one.name: one for one in run.differences}
    rows = [Row(metric, differences.get(metric.name)) for metric in run.metrics]
    return [(group, list(members)) for group, members in groupby(rows, key=_group)]


def _group(row: Row) -> str:
    measure = MEASURES.get(row.metric.name)
    return measure.group if measure else ""


def _plots(run: Run, cases: Sequence[Case]) -> list[Plot]:
    given = [
        (case.passed.confidence, case.outcome.right)
        for case in cases
        if case.passed.confidence is not None
        and case.outcome.right is not None
        and case.outcome not in (REFUSED_RIGHTLY, REFUSED_WRONGLY)
    ]
    confidence, correct = [one for one, _ in given], [right for _, right in given]
    answers = [passed.answer for passed in run.questions if passed.answer is not None]
    times = {
        words: [float(answer["timings_ms"][name]) for answer in answers if answer["timings_ms"][name] > 0]
        for name, words in TIMES.items()
    }
    found = [
        kind_plot(*_by_kind(run, cases)),
        risk_coverage_plot(confidence, correct),
        calibration_plot(confidence, correct),
        latency_plot(times),
    ]
    return [plot for plot in found if plot is not None]


def _by_kind(run: Run, cases: Sequence[Case]) -> tuple[dict[str, Interval], str]:
    """The share of questions that went right; without answers, the first metric in [0, 1] that questions
    have a score for."""
    name, values = (
        _said_of_right(cases),
        _grouped(
            (case.passed.kind, None if case.outcome.right is None else float(case.outcome.right))
            for case in cases
        ),
    )
    if not values:
        chief = [metric for metrics in run.kinds.values() for metric in metrics]
        names = [
            metric.name for metric in (*chief, *run.metrics) if not metric.unit and metric.higher_is_better
        ]
        for name in names:
            values = _grouped((one.kind, one.scores.get(name)) for one in run.questions)
            if values:
                break
    intervals = {kind: bootstrap_mean(found) for kind, found in values.items()}
    return {kind: one for kind, one in intervals.items() if one is not None}, name


def _said_of_right(cases: Sequence[Case]) -> str:
    outcomes = {case.outcome for case in cases}
    if outcomes & {FOUND, MISSED}:
        return "Questions whose evidence stands in the first five passages"
    if outcomes & {JUDGED_RIGHTLY, JUDGED_WRONGLY}:
        return "Right verdicts"
    return "Right answers and right refusals"


def _grouped(scores: Iterable[tuple[str, float | None]]) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for kind, score in scores:
        if score is not None:
            groups.setdefault(kind, []).append(score)
    return groups


def _case(index: int, passed: Passed, texts: Texts) -> Case:
    id = f"q{index}"
    marks: dict[str, list[tuple[Mark, str]]] = {}
    problems: list[str] = []

    def add(document_id: str, mark: Mark, label: str) -> bool:
        """Note the mark, or why there can be none; whether there is one."""
        where = f"{label}: characters {mark.start}–{mark.end}"
        if document_id not in texts:
            problems.append(f"{where} of a document that is not at hand ({document_id})")
            return False
        if not 0 <= mark.start < mark.end <= len(texts[document_id][1]):
            problems.append(f"{where} do not exist: the document has {len(texts[document_id][1])}")
            return False
        marks.setdefault(document_id, []).append((mark, where))
        return True

    answer = passed.answer or {}
    for one in answer.get("citations", ()):
        start, end = one["start"], one["end"]
        mark = Mark(start, end, "cited", f"{one['number']}")
        page = "" if one["page"] is None else f", page {one['page']}"
        exact = add(one["document_id"], mark, f"cited [{one['number']}]{page}")
        if exact and texts[one["document_id"]][1][start:end] != one["cited_text"]:
            problems.append(
                f"citation [{one['number']}] is not exact: it says “{one['cited_text']}” where the "
                f"document has “{texts[one['document_id']][1][start:end]}”"
            )
    for place, alternative in enumerate(passed.gold, 1):
        label = "gold" if len(passed.gold) == 1 else f"gold, alternative {place}"
        for document_id, start, end in alternative:
            add(document_id, Mark(start, end, "gold"), label)
    for one in answer.get("nearest", ()):
        label = f"nearest ({one['number']}), score {one['score']:.2f}"
        add(one["document_id"], Mark(one["start"], one["end"], "near", f"{one['number']}"), label)

    sources = tuple(
        Source(
            id=f"{id}-d{place}",
            title=texts[document_id][0],
            ranges=tuple(dict.fromkeys(where for _, where in found)),
            excerpts=excerpts(texts[document_id][1], (mark for mark, _ in found)),
        )
        for place, (document_id, found) in enumerate(marks.items(), 1)
    )
    ids = {document_id: source.id for document_id, source in zip(marks, sources, strict=True)}
    anchors = {
        one["number"]: ids[one["document_id"]]
        for one in answer.get("citations", ())
        if one["document_id"] in ids
    }
    unique = tuple(dict.fromkeys(problems))
    verdict = None if passed.answer else _verdict(passed)
    return Case(
        id=id,
        passed=passed,
        outcome=outcome(passed),
        verdict=verdict.said if verdict else "",
        said=tuple(_said(answer)),
        sources=sources,
        anchors=anchors,
        problems=unique,
    )


def _said(answer: Mapping[str, Any]) -> Iterator[Said]:
    """The whole answer, its sentences apart; text between them that no sentence holds has no verdict."""
    text, at = answer.get("answer", ""), 0
    for one in sorted(answer.get("sentences", ()), key=lambda one: (one["start"], one["end"])):
        if between := text[at : one["start"]].strip():
            yield Said(between, "", None, ())
        said = text[one["start"] : one["end"]]
        yield Said(said, one["verdict"], one["score"], tuple(one["citations"]))
        at = max(at, one["end"])
    if after := text[at:].strip():
        yield Said(after, "", None, ())
