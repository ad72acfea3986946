"""The words sent to the model, and nothing else.

Measured on the default model, on the gold questions of the seed article: asking for source numbers
in the draft, or giving leave to reply "Not stated" in it, costs a fifth of the right answers. So the
draft is asked for plainly, citations are found afterwards, and whether the answer is stated at all is
asked apart, by a probe that writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rag.types import Evidence, Prompt, Turn

REFUSAL = "The documents do not answer this."
"""What a person reads when nothing supported can be said."""

NOT_STATED = "Not stated"
"""What a model replies that finds no answer; never shown."""

INSTRUCTIONS = (
    "Answer the question from the document in one short, complete sentence. Use the words of the document."
)

JUDGE_INSTRUCTIONS = "Judge whether a text answers a question. Reply Yes or No."

CONDENSE_INSTRUCTIONS = (
    "Rewrite the last question of a conversation so that it can be understood alone: put the names it "
    "refers to in place of pronouns. Keep its meaning. Reply with the question only."
)

STATED_CHOICES = ("Yes", "No")

UNNUMBERED = "root ::= [^\\[\\]]*"
"""GBNF for a draft: nothing in a prompt is numbered, so no number in brackets exists to be written."""


def section_prompt(text: str, document_id: str) -> Prompt:
    """The fixed part of a prompt over a whole section, as it stands: what a reading is made of."""
    return Prompt(INSTRUCTIONS, f"Document:\n{text}\n\n", document_id=document_id)


def evidence_prompt(evidence: Sequence[Evidence]) -> Prompt:
    """The fixed part of a prompt over chosen sentences, in the order given, under their titles."""
    lines: list[str] = []
    title = ""
    for sentence in evidence:
        if sentence.title != title:
            title = sentence.title
            lines.append(f"Document: {title}")
        lines.append(" ".join(sentence.text.split()))
    return Prompt(INSTRUCTIONS, "\n".join(lines) + "\n\n")


def draft_question(question: str) -> str:
    return f"Question: {question}"


def stated_probe(question: str) -> str:
    """Answered by the scores of STATED_CHOICES as the next token."""
    return f"Question: {question}\nIs the answer to this question stated in the document? Reply Yes or No."


def judge_prompt(text: str, question: str) -> Prompt:
    """Whether one sentence, by itself, answers the question. Answered by the scores of STATED_CHOICES."""
    return Prompt(
        JUDGE_INSTRUCTIONS,
        f"Text: {' '.join(text.split())}\n",
        f"Question: {question}\nDoes the text answer the question?",
    )


def yes_prompt(text: str, question: str) -> Prompt:
    """Whether one sentence, by itself, says yes to the question; what is read of `judge_prompt` serves again.

    Answered by the scores of STATED_CHOICES.
    """
    asked = f"Question: {question}\nAccording to the text, is the answer yes or no?"
    return replace(judge_prompt(text, question), question=asked)


def condense_prompt(question: str, history: Sequence[Turn]) -> Prompt:
    speaker = {"user": "Question", "assistant": "Answer"}
    lines = [f"{speaker[turn.role]}: {' '.join(turn.content.split())}" for turn in history]
    return Prompt(
        CONDENSE_INSTRUCTIONS, "Conversation:\n" + "\n".join(lines) + "\n\n", f"Last question: {question}"
    )
