"""Is a text within a grammar? Asked of what an endpoint has written, whatever it promised to keep to."""

from __future__ import annotations

import re
from collections.abc import Callable

from index.errors import ModelUnsuitable

_REPEATED_CLASS = re.compile(r"root ::= (\[\^?(?:\\.|[^\\\]])+\]\*)")


def allowed_length(grammar: str) -> Callable[[str], int]:
    """How many characters from the beginning of a text the grammar admits, as a function of the text.

    Of GBNF, one class of characters repeated is understood, which is all that a draft is kept to here; a
    grammar is empty where anything goes. Raises ModelUnsuitable for another.
    """
    if not grammar:
        return len
    match = _REPEATED_CLASS.fullmatch(grammar)
    if match is None:
        raise ModelUnsuitable(
            "what a model elsewhere writes cannot be held to this grammar: use one that runs here"
        )
    pattern = re.compile(match[1])

    def length(text: str) -> int:
        found = pattern.match(text)
        return found.end() if found else 0

    return length
