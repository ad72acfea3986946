from __future__ import annotations

import pytest

from rag.condense import condense, leans
from rag.generate import ExtractiveGenerator
from rag.types import Turn

HISTORY = [
    Turn("user", "Where did Mr. Putin speak?"),
    Turn("assistant", "Mr. Putin spoke in Kazan."),
]


@pytest.mark.parametrize(
    "question",
    [
        "When did he arrive?",
        "And when was that?",
        "what about by December?",
        "Why?",
        "Did they agree?",
        "How long did it go on",
        "Who else came?",
    ],
)
def test_leaning_questions(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize(
    "question",
    [
        "Where did the BRICS leaders meet?",
        "Which department said that North Korea had sent troops?",
        "Who is Kim?",
        "What sanctions did the communiqué condemn?",
    ],
)
def test_questions_that_stand_alone(question: str) -> None:
    assert not leans(question)
    generator = ExtractiveGenerator(["Something else entirely?"])
    assert condense(question, HISTORY, generator) == question
    assert generator.prompts == []


def test_a_leaning_question_is_rewritten_from_its_history() -> None:
    generator = ExtractiveGenerator(["When did Mr. Putin arrive in Kazan?"])
    assert condense("When did he arrive?", HISTORY, generator) == "When did Mr. Putin arrive in Kazan?"


def test_a_rewrite_that_invents_a_name_is_not_used() -> None:
    generator = ExtractiveGenerator(["When did Donald Trump arrive in Kazan?"])
    assert condense("When did he arrive?", HISTORY, generator) == (
        "Where did Mr. Putin speak? When did he arrive?"
    )


def test_a_rewrite_that_asks_something_else_is_not_used() -> None:
    generator = ExtractiveGenerator(["Where is Kazan?"])
    assert condense("When did he arrive there?", HISTORY, generator).endswith("When did he arrive there?")


def test_without_history_or_model() -> None:
    assert condense("When did he arrive?", [], ExtractiveGenerator(["x"])) == "When did he arrive?"
    assert condense("When did he arrive?", HISTORY, None) == "Where did Mr. Putin speak? When did he arrive?"
