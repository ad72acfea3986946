from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from rag.errors import GenerationCancelled
from rag.extractive import ExtractiveGenerator
from rag.remembering import RememberingGenerator
from rag.types import Choice, Piece, Prompt

PROMPT = Prompt("Answer.", "The zoo opened in 1874. It keeps a herd of elephants.", "When did the zoo open?")


class Noting(ExtractiveGenerator):
    """Says how often it was really asked."""

    def __init__(self, drafts: Sequence[str] = ()) -> None:
        super().__init__(drafts)
        self.chosen = 0

    def choose(self, *arguments: Any) -> Choice:
        self.chosen += 1
        return super().choose(*arguments)


def text(pieces: Iterator[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_a_draft_is_written_once() -> None:
    inner = Noting(["The first.", "The second."])
    generator = RememberingGenerator(inner)
    first, again = (list(generator.generate(PROMPT, max_tokens=9)) for _ in range(2))
    assert text(iter(first)) == text(iter(again)) == "The first."
    assert len(inner.prompts) == 1
    assert first[-1].stop == again[-1].stop == "end"
    written, remembered = first[-1].usage, again[-1].usage
    assert written is not None
    assert remembered is not None
    assert written.cached_tokens == 0
    assert remembered.cached_tokens == remembered.prompt_tokens == written.prompt_tokens
    assert (written.completion_tokens, remembered.completion_tokens) == (2, 0)


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        (Prompt("Answer.", PROMPT.context, "Why did the zoo open?"), {"max_tokens": 9}),
        (Prompt("Answer.", "The zoo closed.", PROMPT.question), {"max_tokens": 9}),
        (Prompt("Answer.", PROMPT.context, PROMPT.question, document_id="d"), {"max_tokens": 9}),
        (PROMPT, {"max_tokens": 8}),
        (PROMPT, {"max_tokens": 9, "grammar": 'root ::= "a"'}),
    ],
)
def test_another_prompt_or_another_limit_is_another_draft(prompt: Prompt, options: dict[str, Any]) -> None:
    generator = RememberingGenerator(Noting(["The first.", "The second."]))
    assert text(generator.generate(PROMPT, max_tokens=9)) == "The first."
    assert text(generator.generate(prompt, **options)) == "The second."


def test_what_chance_has_a_part_in_is_written_anew() -> None:
    generator = RememberingGenerator(Noting(["The first.", "The second.", "The third."]))
    drafts = [text(generator.generate(PROMPT, max_tokens=9, temperature=0.7)) for _ in range(2)]
    assert drafts == ["The first.", "The second."]
    assert text(generator.generate(PROMPT, max_tokens=9)) == "The third."


def test_a_draft_that_was_broken_off_is_not_remembered() -> None:
    inner = Noting(["The first one.", "The second one."])
    generator = RememberingGenerator(inner)
    pieces = generator.generate(PROMPT, max_tokens=9)
    assert next(pieces).text == "The"
    pieces.close()  # type: ignore[attr-defined]
    assert text(generator.generate(PROMPT, max_tokens=9)) == "The second one."


def test_a_choice_is_asked_for_once() -> None:
    inner = Noting()
    generator = RememberingGenerator(inner)
    first, again = (generator.choose(PROMPT, ("Yes", "No")) for _ in range(2))
    assert first.scores == again.scores
    assert again.usage.cached_tokens == again.usage.prompt_tokens == first.usage.prompt_tokens
    assert inner.chosen == 1
    generator.choose(PROMPT, ("No", "Yes"))
    assert inner.chosen == 2


def test_who_no_longer_wants_it_gets_nothing_out_of_memory_either() -> None:
    generator = RememberingGenerator(Noting())
    list(generator.generate(PROMPT, max_tokens=9))
    generator.choose(PROMPT, ("Yes", "No"))
    with pytest.raises(GenerationCancelled):
        list(generator.generate(PROMPT, max_tokens=9, cancelled=lambda: True))
    with pytest.raises(GenerationCancelled):
        generator.choose(PROMPT, ("Yes", "No"), lambda: True)


def test_the_least_recently_used_is_forgotten_first() -> None:
    inner = Noting()
    generator = RememberingGenerator(inner, most=2)
    one, two, three = (Prompt("Answer.", "The zoo opened.", f"Question {number}?") for number in range(3))
    for prompt in (one, two, one, three):  # the third call is remembered, and makes `two` the oldest
        generator.choose(prompt, ("Yes", "No"))
    assert inner.chosen == 3
    generator.choose(one, ("Yes", "No"))
    assert inner.chosen == 3
    generator.choose(two, ("Yes", "No"))
    assert inner.chosen == 4
