"""Verified sentences → the answer's text, its sentence ranges and its numbered citations."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.types import AnswerSentence, Citation, Evidence, SentenceVerified

_FINAL = ".!?…"
_ABBREVIATED = re.compile(r"\b(?:\w\.){2,}$")


class AnswerBuilder:
    """Grows an answer sentence by sentence; what was added is final and never moves."""

    def __init__(self) -> None:
        self._text = ""
        self._sentences: list[AnswerSentence] = []
        self._citations: list[Citation] = []
        self._numbers: dict[tuple[str, int, int], int] = {}

    @property
    def text(self) -> str:
        return self._text

    @property
    def sentences(self) -> tuple[AnswerSentence, ...]:
        return tuple(self._sentences)

    @property
    def citations(self) -> tuple[Citation, ...]:
        return tuple(self._citations)

    def add(self, sentence: str, sources: Sequence[Evidence], score: float) -> SentenceVerified:
        """Append a sentence with its footnote numbers before its final mark: "They met in Kazan [1]."

        Each source is one citation, in document order; its answer range is the sentence without the
        numbers and the final mark.
        """
        start = len(self._text) + 1 if self._text else 0
        body, final = _split_final(sentence)
        numbers: list[int] = []
        citations: list[Citation] = []
        for source in sorted(sources, key=lambda item: (item.document_id, item.start)):
            key = (source.document_id, source.start, source.end)
            number = self._numbers.setdefault(key, len(self._numbers) + 1)
            numbers.append(number)
            citations.append(
                Citation(
                    number=number,
                    document_id=source.document_id,
                    title=source.title,
                    uri=source.uri,
                    page=source.page,
                    start=source.start,
                    end=source.end,
                    cited_text=source.text,
                    sha256=source.sha256,
                    answer_start=start,
                    answer_end=start + len(body),
                )
            )
        text = f"{body} {''.join(f'[{number}]' for number in numbers)}{final}"
        added = AnswerSentence(start, start + len(text), "supported", score, tuple(numbers))
        self._text += (" " if self._text else "") + text
        self._sentences.append(added)
        self._citations += citations
        return SentenceVerified(text, added, tuple(citations))


def _split_final(sentence: str) -> tuple[str, str]:
    """The sentence and its final mark. A mark inside closing quotes, or of "U.S.", stays where it is."""
    body = sentence.rstrip(_FINAL)
    if not body or _ABBREVIATED.search(sentence):
        return sentence, ""
    return body, sentence[len(body) :]
