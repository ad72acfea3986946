"""What an endpoint replies, in OpenAI's shape: taken in as it comes, and believed as far as it can be.

A reply that has another shape raises Fault: it is the endpoint that has failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from index.endpoint_calls import Fault
from index.errors import EndpointFailed
from rag.types import Piece, Usage

WORD_SHARE = 0.75
"""How likely a choice is taken to be that was written, where no probability is told: a word says less."""

_LEAST = 1e-9
_ANOTHER_SHAPE = "does not speak OpenAI's protocol"


class Reply:
    """One draft as it is written.

    `already` was passed on by an endpoint that broke off: it has to be said again, and is not passed on.
    `allowed` tells how much of the text a grammar admits; `spent` was spent before.
    """

    def __init__(
        self,
        allowed: Callable[[str], int] = len,
        *,
        most_characters: int,
        already: str = "",
        spent: Usage = Usage(),  # noqa: B008 -- frozen
    ) -> None:
        self._allowed = allowed
        self._most = most_characters
        self._already = already
        self._spent = spent
        self._text = ""
        self._half = ""  # the first half of a character that JSON escaped in two
        self._pieces = 0
        self._usage: Any = None
        self._finish = ""
        self.is_cut = False
        """It left the grammar, or wrote too much: what follows is of no use."""

    def take(self, event: Any) -> str:
        """The new text of an event that can be passed on. Raises EndpointFailed where it belies `already`."""
        if not isinstance(event, dict):
            raise Fault(_ANOTHER_SHAPE, is_passing=False)
        if isinstance(event.get("usage"), dict):
            self._usage = event
        choice = _first(event)
        if choice is None:
            return ""
        if isinstance(choice.get("finish_reason"), str):
            self._finish = choice["finish_reason"]
        new = _content(choice)
        self._pieces += bool(new)
        before = max(len(self._text), len(self._already))
        whole = self._text + self._joined(new)
        length = min(self._allowed(whole), self._most)
        self.is_cut = length < len(whole)
        self._text = whole[:length]
        if not self._agrees():
            raise EndpointFailed(
                "the endpoint that wrote the answer broke off, and the next one words it otherwise: ask again"
            )
        return self._text[before:]

    def last_piece(self, prompt_tokens: int) -> Piece:
        """Usage and why it ended; `prompt_tokens` where the endpoint says nothing of them.

        Raises Fault where it did not end.
        """
        if not self.is_cut and not self._finish:
            raise Fault("broke off before the end")
        if len(self._text) < len(self._already):
            raise EndpointFailed(
                "the endpoint that wrote the answer broke off, and the next one says less: ask again"
            )
        if not self.is_cut and self._finish not in {"stop", "length"}:
            raise Fault(f"broke off ({self._finish[:40]})")
        stop: Literal["end", "length"] = "end" if self._finish == "stop" and not self.is_cut else "length"
        return Piece("", self._spent + usage_of(self._usage, prompt_tokens, self._pieces), stop)

    def _agrees(self) -> bool:
        return self._text.startswith(self._already[: len(self._text)])

    def _joined(self, new: str) -> str:
        """The text with a character whole that came in two halves; half a character is kept for the next."""
        text, self._half = self._half + new, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def written(found: Any) -> str:
    """The text of a whole response."""
    choice = _first(found) if isinstance(found, dict) else None
    if choice is None:
        raise Fault(_ANOTHER_SHAPE, is_passing=False)
    return _content(choice)


def usage_of(found: Any, prompt_tokens: int, completion_tokens: int) -> Usage:
    """What a response says that it cost, or these estimates."""
    told = found.get("usage") if isinstance(found, dict) else None
    if not isinstance(told, dict):
        return Usage(prompt_tokens, completion_tokens)
    details = told.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens"), 0) if isinstance(details, dict) else 0
    prompt = _count(told.get("prompt_tokens"), prompt_tokens)
    return Usage(prompt, _count(told.get("completion_tokens"), completion_tokens), min(cached, prompt))


def first_token_scores(found: Any, choices: Sequence[str]) -> tuple[float, ...] | None:
    """Log-probabilities of the choices' first tokens as the first of the reply; None where none are told."""
    likely = _likeliest(found)
    if not likely:
        return None
    left = 1 - sum(math.exp(score) for score in likely.values())
    least = min(*likely.values(), math.log(max(left, _LEAST)))
    return tuple(_score(choice, choices, likely, least) for choice in choices)


def chosen_by_word(found: Any, choices: Sequence[str]) -> tuple[float, ...]:
    """The same by what was written: one of the choices, or none of them."""
    word = "".join(
        character if character.isalnum() else " " for character in written(found).casefold()
    ).split()
    said = [choice.casefold() in word[:1] for choice in choices]
    if sum(said) != 1:
        return tuple(-math.log(len(choices)) for _ in choices)
    others = math.log((1 - WORD_SHARE) / max(len(choices) - 1, 1))
    return tuple(math.log(WORD_SHARE) if is_it else others for is_it in said)


def _score(choice: str, choices: Sequence[str], likely: Mapping[str, float], least: float) -> float:
    if choice in likely:
        return likely[choice]
    # Some vocabularies put the space before a word into its token, some cut the word.
    spaced = [score for token, score in likely.items() if token.strip() == choice]
    if spaced:
        return math.log(min(sum(math.exp(score) for score in spaced), 1.0))
    others = [other for other in choices if other != choice]
    cut = [
        score
        for token, score in likely.items()
        if (begun := token.strip())
        and choice.startswith(begun)
        and not any(other.startswith(begun) for other in others)
    ]
    return max(cut, default=least)


def _likeliest(found: Any) -> dict[str, float]:
    """Token → log-probability, for the first token of a reply; empty where it is not told, or is nonsense."""
    try:
        first = found["choices"][0]["logprobs"]["content"][0]
        told = [(entry["token"], entry["logprob"]) for entry in [*first["top_logprobs"], first]]
    except (KeyError, TypeError, IndexError):
        return {}
    likely: dict[str, float] = {}
    for token, score in told:
        if not isinstance(token, str) or isinstance(score, bool) or not isinstance(score, int | float):
            return {}
        if not -1e300 < score <= 1e-3 and score != -math.inf:
            return {}
        likely[token] = min(max(float(score), math.log(_LEAST)), 0.0)
    return likely if sum(math.exp(score) for score in likely.values()) <= 1.01 else {}


def _first(event: Mapping[str, Any]) -> dict[str, Any] | None:
    choices = event.get("choices")
    if not isinstance(choices, list):
        raise Fault(_ANOTHER_SHAPE, is_passing=False)
    if not choices:
        return None
    if not isinstance(choices[0], dict):
        raise Fault(_ANOTHER_SHAPE, is_passing=False)
    return choices[0]


def _content(choice: Mapping[str, Any]) -> str:
    said = choice.get("delta") or choice.get("message") or {}
    content = said.get("content") if isinstance(said, dict) else said
    if content is None:
        return ""
    if not isinstance(content, str):
        raise Fault(_ANOTHER_SHAPE, is_passing=False)
    return content


def _count(value: Any, otherwise: int) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else otherwise
