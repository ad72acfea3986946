"""Gold files to questions with known answers and evidence: our own format, and those that others publish.

- `footnote`: one JSON object a line (seeds/gold.jsonl); evidence is quoted from documents that lie
  beside the file. In kind "two_passage" all quotes are needed, elsewhere any one suffices; in kind "list"
  an answer is right that names all parts of a gold answer.
- `squad`: SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018) and XQuAD (Artetxe et al. 2020).
- `clapnq`: CLAPNQ (Rosenthal et al. 2025).
- `chunking`: chunking_evaluation (Smith and Troynikov 2024), its corpora as .md files beside the CSV.
- WiCE (Kamoi et al. 2023) holds claims, not questions: `load_claims`.

For formats of lines a folder stands for all the .jsonl files in it.

A file with anything wrong in it is refused as a whole, by one GoldError that names every bad line.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from index.errors import DocumentError, UsageError
from rag.gold_published import read_chunking, read_clapnq, read_squad, read_wice
from rag.gold_reading import Gathering, OwnRecord, Text, shortened
from rag.gold_types import (
    Claim,
    ClaimSet,
    GoldDocument,
    GoldError,
    GoldEvidence,
    GoldFormat,
    GoldSet,
    Label,
    Problem,
    Question,
)
from rag.types import Role, Turn

__all__ = [
    "FORMATS",
    "LIST",
    "Claim",
    "ClaimSet",
    "GoldDocument",
    "GoldError",
    "GoldEvidence",
    "GoldFormat",
    "GoldSet",
    "Label",
    "Problem",
    "Question",
    "load_claims",
    "load_gold",
]

LIST = "list"
"""The kind of questions whose answer is several things, "Kyiv, Oslo and Bern"."""


class _Quote(OwnRecord):
    document: Text
    quote: Text


class _Message(OwnRecord):
    role: Role
    content: Text


class _FootnoteLine(OwnRecord):
    id: Text
    question: Text
    answers: list[Text]
    evidence: list[_Quote]
    answerable: bool
    kind: Text
    history: tuple[_Message, ...] = ()
    note: str = ""


def load_gold(path: Path, format: GoldFormat = "footnote", *, divide: bool = False) -> GoldSet:
    """The questions in a gold file, and the documents that they are asked of.

    With `divide`, each SQuAD paragraph is a document of its own; else an article is, its paragraphs
    joined by blank lines. Raises GoldError, naming every bad line; UsageError for a format that has no
    questions, and for `divide` where nothing can be divided.
    """
    if format not in FORMATS:
        raise UsageError(f"there is no gold format {format} with questions: use one of {', '.join(FORMATS)}")
    if divide and format != "squad":
        raise UsageError(f"only articles of the format squad can be divided, not {format}: leave it out")
    gathering = Gathering(path)
    read = partial(read_squad, divide=True) if divide else FORMATS[format]
    read(gathering)
    return gathering.finished(format)


def load_claims(path: Path) -> ClaimSet:
    """The claims of a WiCE file, or of all the .jsonl files of a folder. Raises GoldError."""
    gathering = Gathering(path)
    claims = read_wice(gathering)
    gathering.stop_if_wrong()
    if not claims:
        raise gathering.refuse("there is no claim in it")
    return ClaimSet(path.absolute().stem, claims, gathering.digest)


def _read_footnote(gathering: Gathering) -> None:
    documents: dict[str, GoldDocument | str] = {}
    for place, line in gathering.lines(_FootnoteLine):
        fresh = gathering.is_new(place, line.id)
        reasons = _contradictions(line)
        found: list[GoldEvidence] = []
        for evidence in line.evidence:
            name = evidence.document
            if name not in documents:
                try:
                    documents[name] = gathering.add_file(name)
                except DocumentError as error:
                    documents[name] = str(error)
            document = documents[name]
            if isinstance(document, str):
                reasons.append(document)
                continue
            start = document.text.find(evidence.quote)
            quote = shortened(evidence.quote)
            if start < 0:
                reasons.append(f"the quote {quote} does not stand in {name}")
            elif document.text.find(evidence.quote, start + 1) >= 0:
                reasons.append(f"the quote {quote} stands in {name} more than once: quote more of it")
            else:
                found.append(GoldEvidence(document.id, start, start + len(evidence.quote), evidence.quote))
        gathering.wrong(place, dict.fromkeys(reasons))
        if reasons or not fresh:
            continue
        all_needed = line.kind == "two_passage"
        gathering.questions.append(
            Question(
                id=line.id,
                question=line.question,
                answers=tuple(line.answers),
                evidence_sets=(tuple(found),) if all_needed else tuple((one,) for one in found),
                answerable=line.answerable,
                kind=line.kind,
                history=tuple(Turn(turn.role, turn.content) for turn in line.history),
                note=line.note,
            )
        )


def _contradictions(line: _FootnoteLine) -> list[str]:
    reasons = []
    if line.answerable and not (line.answers and line.evidence):
        reasons.append("it is answerable, so it needs answers and evidence")
    if not line.answerable and (line.answers or line.evidence):
        reasons.append("it is not answerable, so it can have neither answers nor evidence")
    if line.kind == "yes_no" and line.answers and line.answers[0] not in {"yes", "no"}:
        reasons.append('the first answer of a yes_no question is "yes" or "no"')
    if line.kind == "two_passage" and line.answerable and len(line.evidence) < 2:
        reasons.append("a two_passage question needs two quotes or more")
    return reasons


FORMATS: dict[GoldFormat, Callable[[Gathering], None]] = {
    "footnote": _read_footnote,
    "squad": read_squad,
    "clapnq": read_clapnq,
    "chunking": read_chunking,
}
"""The formats with questions, by name."""
