from __future__ import annotations

import math

import pytest

from rag.errors import GenerationCancelled
from rag.extractive import ExtractiveGenerator
from rag.prompts import NOT_STATED
from rag.types import Piece, Prompt, Usage

RAW = (
    "Document:\nBirds of the zoo\n\nThe oldest flamingo, fed by\nDr. Ann Smith, is 61 years old. "
    "Penguins eat fish.\n\nThe tiger sleeps."
)
NUMBERED = "Document:\nTitle: The flamingo\n[1] Penguins eat fish.\n[2] The oldest flamingo is 61 years old."


def answer(context: str, question: str) -> str:
    pieces = ExtractiveGenerator().generate(Prompt("i", context, question), max_tokens=99)
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize(
    ("context", "question", "expected"),
    [
        (
            RAW,
            "Question: How old is the oldest flamingo?",
            "The oldest flamingo, fed by Dr. Ann Smith, is 61 years old.",
        ),
        (RAW, "What do penguins eat?", "Penguins eat fish."),
        (
            RAW,
            "Question: Does the tiger sleep?\nReply Yes or No about penguins and fish.",
            "The tiger sleeps.",
        ),
        (NUMBERED, "How old is the flamingo?", "The oldest flamingo is 61 years old."),
        ("Cats purr. Cats meow.", "What do cats do?", "Cats purr."),
        ("a list of cats\u3000and\u2028dogs", "Which dogs?", "a list of cats and dogs"),
        (RAW, "Who won the election?", f"{NOT_STATED}."),
        ("", "Who?", f"{NOT_STATED}."),
    ],
)
def test_the_best_sentence(context: str, question: str, expected: str) -> None:
    assert answer(context, question) == expected


def test_pieces_and_usage() -> None:
    generator = ExtractiveGenerator(["One two three."])
    prompt = Prompt("a b", "c d", "e")
    assert list(generator.generate(prompt, max_tokens=9)) == [
        Piece("One"),
        Piece(" two"),
        Piece(" three."),
        Piece("", Usage(5, 3), "end"),
    ]
    assert generator.prompts == [prompt]
    cut = list(ExtractiveGenerator(["One two three."]).generate(prompt, max_tokens=2))
    assert cut[-1] == Piece("", Usage(5, 2), "length")


def test_drafts_come_in_order_and_then_its_own() -> None:
    generator = ExtractiveGenerator(["First.", "Second."])
    prompt = Prompt("", "Cats purr.", "What do cats do?")
    texts = ["".join(p.text for p in generator.generate(prompt, max_tokens=9)) for _ in range(3)]
    assert texts == ["First.", "Second.", "Cats purr."]


def test_choices_follow_the_share_of_the_words() -> None:
    generator = ExtractiveGenerator()
    prompt = Prompt("", "The flamingo is old.", "Question: Is the flamingo pink?\nReply Yes or No.")
    choice = generator.choose(prompt, ("Yes", "No"))
    assert choice.usage == Usage(generator.count_tokens(f"{prompt.context} {prompt.question}"))
    yes, no = choice.scores
    assert (math.exp(yes), math.exp(no)) == (pytest.approx(0.5), pytest.approx(0.5))
    held = Prompt("", "The flamingo is pink.", "Question: Is the flamingo pink?")
    yes, no = generator.choose(held, ("Yes", "No")).scores
    assert (math.exp(yes), math.exp(no)) == (pytest.approx(0.99), pytest.approx(0.01))
    (declines,) = generator.choose(held, (NOT_STATED,)).scores
    assert math.exp(declines) == pytest.approx(0.01)


def test_readings() -> None:
    generator = ExtractiveGenerator()
    prompt = Prompt("i", "c", document_id="d")
    assert not generator.has_reading(prompt)
    assert not generator.read(prompt, lambda: True)
    assert not generator.has_reading(prompt)
    assert generator.read(prompt)
    assert generator.has_reading(prompt)


def test_cancelled() -> None:
    prompt = Prompt("", "Cats purr.", "What do cats do?")
    looks = iter([False, False, True])
    pieces = ExtractiveGenerator().generate(prompt, max_tokens=9, cancelled=lambda: next(looks))
    assert next(pieces) == Piece("Cats")
    with pytest.raises(GenerationCancelled):
        next(pieces)
    with pytest.raises(GenerationCancelled):
        ExtractiveGenerator().choose(prompt, ("Yes",), lambda: True)


def test_what_it_is() -> None:
    generator = ExtractiveGenerator(context_tokens=7)
    assert (generator.name, generator.digest, generator.context_tokens) == ("extractive", "extractive-1", 7)
    assert generator.count_tokens("a b  c") == 3
