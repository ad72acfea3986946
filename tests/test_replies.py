"""What endpoints reply, taken in: text, scores and costs, and what is not believed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.endpoint_calls import Fault
from index.errors import EndpointFailed
from rag.allowed import allowed_length
from rag.prompts import UNNUMBERED
from rag.replies import Reply, chosen_by_word, first_token_scores, usage_of, written
from rag.types import Piece, Usage


def delta(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def taken(reply: Reply, *texts: str) -> list[str]:
    return [reply.take(delta(text)) for text in texts]


def test_text_and_usage() -> None:
    reply = Reply(most_characters=99)
    assert taken(reply, "The zoo", "", " opened.") == ["The zoo", "", " opened."]
    assert reply.take(delta(None, "stop")) == ""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}
    assert reply.take({"choices": [], "usage": usage}) == ""
    assert reply.last_piece(0) == Piece("", Usage(7, 3, 5), "end")


def test_usage_is_estimated_where_none_is_told() -> None:
    reply = Reply(most_characters=99, spent=Usage(10, 1))
    taken(reply, "a", "b")
    reply.take(delta(None, "length"))
    assert reply.last_piece(30) == Piece("", Usage(40, 3), "length")


def test_a_character_in_two_halves_is_whole() -> None:
    reply = Reply(most_characters=99)
    assert taken(reply, "a\ud83d", "\ude00b", "\ud83d", "c") == ["a", "😀b", "", "�c"]


def test_a_draft_ends_where_it_leaves_the_grammar() -> None:
    reply = Reply(allowed_length(UNNUMBERED), most_characters=99)
    assert taken(reply, "They met in Kazan ", "[1", "].") == ["They met in Kazan ", "", ""]
    assert reply.is_cut
    assert reply.last_piece(0).stop == "length"


def test_a_draft_that_does_not_end_is_ended() -> None:
    reply = Reply(most_characters=5)
    assert taken(reply, "abc", "defg") == ["abc", "de"]
    assert reply.is_cut


@pytest.mark.parametrize(("finish", "stop"), [("stop", "end"), ("length", "length")])
def test_why_it_ended(finish: str, stop: str) -> None:
    reply = Reply(most_characters=99)
    reply.take(delta("a", finish))
    assert reply.last_piece(0).stop == stop


def test_what_does_not_end_is_a_fault() -> None:
    reply = Reply(most_characters=99)
    taken(reply, "The zoo")
    with pytest.raises(Fault, match="broke off"):
        reply.last_piece(0)


@pytest.mark.parametrize("finish", ["abort", "content_filter", "tool_calls"])
def test_what_was_broken_off_elsewhere_is_a_fault(finish: str) -> None:
    reply = Reply(most_characters=99)
    reply.take(delta("The zoo", finish))
    with pytest.raises(Fault, match=f"broke off .{finish}"):
        reply.last_piece(0)


def test_what_was_passed_on_before_is_not_again() -> None:
    reply = Reply(most_characters=99, already="The zoo of")
    assert taken(reply, "The", " zoo o", "f Basel", ".") == ["", "", " Basel", "."]


def test_another_beginning_is_an_error() -> None:
    reply = Reply(most_characters=99, already="The zoo of")
    with pytest.raises(EndpointFailed, match="words it otherwise"):
        taken(reply, "The z", "ebra")
    short = Reply(most_characters=99, already="The zoo of")
    short.take(delta("The zoo", "stop"))
    with pytest.raises(EndpointFailed, match="says less"):
        short.last_piece(0)


@pytest.mark.parametrize(
    "event",
    [
        5,
        None,
        [],
        {"choices": 5},
        {"choices": ["a"]},
        {"choices": [{"delta": {"content": 5}}]},
        {"object": "x"},
    ],
)
def test_another_shape_is_a_fault(event: object) -> None:
    with pytest.raises(Fault, match="does not speak"):
        Reply(most_characters=9).take(event)
    with pytest.raises(Fault, match="does not speak"):
        written(event)


def scored(*top: tuple[str, float], token: str = "Yes", score: float | None = None) -> dict[str, Any]:
    likely = [{"token": token, "logprob": value} for token, value in top]
    first = {"token": token, "logprob": top[0][1] if score is None else score, "top_logprobs": likely}
    return {"choices": [{"message": {"content": token}, "logprobs": {"content": [first]}}]}


def test_scores_of_tokens() -> None:
    found = scored(("Yes", math.log(0.6)), ("No", math.log(0.3)), (" Yes", math.log(0.05)))
    assert first_token_scores(found, ("Yes", "No")) == (math.log(0.6), math.log(0.3))


def test_tokens_with_their_space_and_tokens_that_are_cut() -> None:
    found = scored((" Yes", math.log(0.5)), ("▁N", math.log(0.1)), ("N", math.log(0.3)), token=" Yes")
    assert first_token_scores(found, ("Yes", "No")) == pytest.approx((math.log(0.5), math.log(0.3)))
    # What begins both says nothing.
    both = scored(("I", math.log(0.9)), ("Is", math.log(0.05)), token="I")
    is_it, in_it = first_token_scores(both, ("Is", "In")) or (0, 0)
    assert is_it == pytest.approx(math.log(0.05))
    assert in_it == pytest.approx(math.log(0.05))


def test_what_is_not_among_the_likeliest_gets_what_they_leave() -> None:
    yes, no = first_token_scores(scored(("Yes", math.log(0.9)), ("The", math.log(0.08))), ("Yes", "No")) or (
        0,
        0,
    )
    assert yes == math.log(0.9)
    assert no == pytest.approx(math.log(0.02))
    neither = first_token_scores(scored(("The", math.log(0.9)), token="The"), ("Yes", "No"))
    assert neither is not None
    assert neither[0] == neither[1]


@pytest.mark.parametrize(
    "found",
    [
        {}, {"choices": []}, {"choices": [{"logprobs": None}]}, {"choices": [{"logprobs": {"content": []}}]},
        {"choices": [{"logprobs": {"content": [{"token": "Yes"}]}}]},
        scored(("Yes", 0.5)), scored(("Yes", math.nan)), scored(("Yes", "high")),  # type: ignore[arg-type]
        scored(("Yes", True)), scored((5, -1.0)),  # type: ignore[arg-type]
        scored(("Yes", -0.1), ("No", -0.1)), scored(("Yes", 10**400)), scored(("Yes", -(10**400))),
    ],
)  # fmt: skip
def test_scores_that_are_missing_or_nonsense(found: object) -> None:
    assert first_token_scores(found, ("Yes", "No")) is None


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("Yes.", (0.75, 0.25)), (" no, it", (0.25, 0.75)), ("**Yes**", (0.75, 0.25)), ("Nobody", (0.5, 0.5)),
        ("", (0.5, 0.5)), ("I think Yes", (0.5, 0.5)), ("YES", (0.75, 0.25)),
    ],
)  # fmt: skip
def test_a_word_in_place_of_a_score(text: str, scores: tuple[float, float]) -> None:
    found = {"choices": [{"message": {"content": text}}]}
    assert chosen_by_word(found, ("Yes", "No")) == tuple(math.log(score) for score in scores)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (None, Usage(9, 1)), ({}, Usage(9, 1)), ({"prompt_tokens": 4}, Usage(4, 1)),
        ({"prompt_tokens": -4, "completion_tokens": "5"}, Usage(9, 1)),
        ({"prompt_tokens": 4, "prompt_tokens_details": {"cached_tokens": 400}}, Usage(4, 1, 4)),
        ({"prompt_tokens": 4, "prompt_tokens_details": None}, Usage(4, 1)),
        ({"prompt_tokens": True, "completion_tokens": 2}, Usage(9, 2)),
    ],
)  # fmt: skip
def test_usage(told: object, usage: Usage) -> None:
    assert usage_of({"usage": told}, 9, 1) == usage


NAMES = "choices delta message content finish_reason usage prompt_tokens prompt_tokens_details".split()
NAMES += "completion_tokens cached_tokens logprobs top_logprobs token logprob error".split()
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("Yes")
LEAVES |= st.text(st.sampled_from("a[ \ud83d\ude00"))
SHAPES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
CHOICES = st.fixed_dictionaries({"choices": st.lists(SHAPES, max_size=2)}, optional={"usage": SHAPES})
LIKELY = st.lists(st.fixed_dictionaries({"token": SHAPES, "logprob": SHAPES}) | SHAPES, max_size=3)


@given(st.lists(SHAPES | CHOICES, max_size=4))
def test_whatever_comes_is_text_or_a_fault(events: list[Any]) -> None:
    reply = Reply(allowed_length(UNNUMBERED), most_characters=50)
    text = ""
    try:
        for event in events:
            text += reply.take(event)
        assert reply.last_piece(3).usage is not None
    except Fault:
        pass
    assert len(text) <= 50
    assert not set(text) & set("[]")
    text.encode()


@given(SHAPES | CHOICES, LIKELY)
def test_whatever_is_told_of_tokens_is_scores_or_nothing(found: Any, likely: Any) -> None:
    for shape in (found, {"choices": [{"logprobs": {"content": [{"top_logprobs": likely, "token": "a"}]}}]}):
        scores = first_token_scores(shape, ("Yes", "No"))
        assert scores is None or all(math.isfinite(score) and score <= 0 for score in scores)
        usage = usage_of(shape, 3, 1)
        assert usage.prompt_tokens >= usage.cached_tokens >= 0
