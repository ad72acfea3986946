"""How far a text is within a grammar."""

from __future__ import annotations

import pytest

from index.errors import ModelUnsuitable
from rag.allowed import allowed_length
from rag.prompts import UNNUMBERED


@pytest.mark.parametrize(
    ("text", "length"),
    [("", 0), ("They met in Kazan.", 18), ("They met [1].", 9), ("[", 0), ("a\nb]", 3), ("“ü”", 3)],
)
def test_a_draft_without_brackets(text: str, length: int) -> None:
    assert allowed_length(UNNUMBERED)(text) == length


def test_without_a_grammar_anything_goes() -> None:
    assert allowed_length("")("a[1]") == 4


def test_another_class() -> None:
    assert allowed_length("root ::= [a-z ]*")("ab cD") == 4


@pytest.mark.parametrize("grammar", ['root ::= "Yes" | "No"', "root ::= [a]+", "root ::= [a]* x", "nonsense"])
def test_a_grammar_that_cannot_be_checked_is_refused(grammar: str) -> None:
    with pytest.raises(ModelUnsuitable):
        allowed_length(grammar)
