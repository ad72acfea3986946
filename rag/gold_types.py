"""The values of a gold set: questions with known answers and known evidence, claims with known verdicts.

Offsets are those of `Document.text`, and documents are named by `Document.id`, so that gold ranges,
passages and citations compare without translation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from index.errors import UsageError
from index.types import Document
from rag.spans import Span
from rag.types import Turn

GoldFormat = Literal["footnote", "squad", "clapnq", "chunking"]
Label = Literal["supported", "partially_supported", "not_supported"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a gold file.

    `place` says where: "line 3", "row 7", "data[0].paragraphs[2]"; "" where it is the whole file.
    """

    place: str
    reason: str


class GoldError(UsageError):
    """A gold file that cannot be used. `problems` holds every bad line; the message names them all,
    those with the same reason together, and ends with the `hint`."""

    code = "invalid_gold"

    def __init__(self, name: str, problems: Iterable[Problem], hint: str = "") -> None:
        self.problems = tuple(problems)
        places: dict[str, list[str]] = {}
        for problem in self.problems:
            places.setdefault(problem.reason, []).append(problem.place)
        found = "; ".join(
            f"{_listed(where)}: {reason}" if any(where) else reason for reason, where in places.items()
        )
        super().__init__(f"{name} is no sound gold file: correct it and run again: {found}{hint}")


@dataclass(frozen=True, slots=True)
class GoldEvidence:
    """A range that answers a question; `quote` is `Document.text[start:end]`."""

    document_id: str
    start: int
    end: int
    quote: str

    @property
    def span(self) -> Span:
        return Span(self.document_id, self.start, self.end)


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what is known of it.

    `answers` are variants of which each is right; empty for an unanswerable question, and where the
    format gives excerpts only. `evidence_sets` are alternatives of which any one suffices; all of a set
    is needed. It is empty exactly if the question is unanswerable. `passage` is the paragraph that the
    question was asked about, where the format has such. `kind` groups questions in reports.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    evidence_sets: tuple[tuple[GoldEvidence, ...], ...]
    answerable: bool
    kind: str
    history: tuple[Turn, ...] = ()
    passage: Span | None = None
    note: str = ""

    @property
    def evidence(self) -> tuple[GoldEvidence, ...]:
        """Every range of every set, each once."""
        return tuple(dict.fromkeys(evidence for one in self.evidence_sets for evidence in one))

    @property
    def alternatives(self) -> bool:
        """Whether there is a choice of evidence."""
        return len(self.evidence_sets) > 1

    @property
    def span_sets(self) -> tuple[tuple[Span, ...], ...]:
        """`evidence_sets` as plain ranges: what the metrics take."""
        return tuple(tuple(evidence.span for evidence in one) for one in self.evidence_sets)


@dataclass(frozen=True, slots=True)
class GoldDocument:
    """A document that the questions are asked of, under its name in the gold file.

    `paragraphs` are the ranges that the format publishes as units of their own; empty where it has none.
    """

    name: str
    document: Document
    paragraphs: tuple[Span, ...] = ()

    @property
    def id(self) -> str:
        return self.document.id

    @property
    def text(self) -> str:
        return self.document.text

    @property
    def title(self) -> str:
        return self.document.title


@dataclass(frozen=True, slots=True)
class GoldSet:
    """Questions and their documents, each document once whatever its names.

    `sha256` is the digest of the gold file's bytes followed by every document's digest: sets with the
    same digest ask the same questions of the same texts.
    """

    name: str
    format: GoldFormat
    questions: tuple[Question, ...]
    documents: tuple[GoldDocument, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, the sentences of a source, and whether these support it.

    `supporting` are alternatives of which any one suffices: indices into `sentences`, all of them needed.
    `context` is the text that the claim stood in, under `title`.
    """

    id: str
    text: str
    label: Label
    sentences: tuple[str, ...]
    supporting: tuple[tuple[int, ...], ...]
    title: str
    context: str


@dataclass(frozen=True, slots=True)
class ClaimSet:
    """Claims for the verifier alone. `sha256` is the digest of the file."""

    name: str
    claims: tuple[Claim, ...]
    sha256: str


def _listed(places: list[str]) -> str:
    """Places in a few words: "line 3 to line 9, line 12"."""
    runs: list[list[str]] = []
    for place in places:
        stem, number = _split(place)
        if runs and number is not None and _split(runs[-1][-1]) == (stem, number - 1):
            runs[-1].append(place)
        else:
            runs.append([place])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _split(place: str) -> tuple[str, int | None]:
    stem = place.rstrip("0123456789")
    return stem, int(place[len(stem) :]) if stem != place else None
