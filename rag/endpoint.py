"""A Generator on endpoints that speak OpenAI's protocol: llama-server, vLLM, and what is like them.

What a prompt holds is sent there: sentences or a section of the documents, and the question. What comes back
is a draft and is checked like any other.

Endpoints differ in what they can do, and what one cannot is seen once. Where it tells no probabilities
(`logprobs`), it is asked for the word itself. A draft is held to a grammar where the endpoint was seen to
keep to one; it is checked in either case, and ends where it leaves it. Tokens are estimated where none are
counted. A prompt is only called read when the endpoint has shown that it need not read it again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self

from index.endpoint_calls import Fault, NoLongerWanted, Rejected, is_too_long
from index.endpoints import Endpoints, Turn
from index.errors import ModelUnsuitable
from rag.allowed import allowed_length
from rag.defused import defused
from rag.errors import GenerationCancelled, QuestionTooLong
from rag.replies import Reply, chosen_by_word, first_token_scores, usage_of, written
from rag.types import Choice, Piece, Prompt, Usage

KEPT = 8
"""So many prompts are remembered as read."""

_BYTES_PER_TOKEN = 3
_MOST_CHARACTERS = 64
"""Of one token; an endpoint that writes on beyond its limit is cut off."""

_NOT_ALOUD: Mapping[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}
"""Models that can think aloud first are asked not to: every token counts."""

_DISPENSABLE = frozenset({"seed", "stream_options"})
"""What not every endpoint knows, and no answer depends on."""

_SPELLINGS: Mapping[str, Callable[[str], Mapping[str, Any]]] = {
    "llama.cpp": lambda grammar: {"grammar": grammar},
    "vLLM": lambda grammar: {"structured_outputs": {"grammar": grammar}},
    "older vLLM": lambda grammar: {"guided_grammar": grammar},
}
"""How a grammar is given."""

_WORD = "kqz"
"""What no model says of itself: who writes it, and nothing else, keeps to a grammar."""


def _wanted() -> bool:
    return False


class EndpointGenerator:
    """A Generator on several endpoints of one model. Safe to use from several threads, which need not wait.

    Everything raises EndpointFailed where no endpoint answers as it should, QuestionTooLong where a prompt is
    too long for it, and GenerationCancelled.
    """

    def __init__(self, endpoints: Endpoints, *, context_tokens: int = 4096) -> None:
        self._endpoints = endpoints
        self._context_tokens = context_tokens

    @property
    def name(self) -> str:
        return self._endpoints.name

    @property
    def digest(self) -> str:
        """Of the name: an endpoint does not say which weights it has."""
        return hashlib.sha256(f"endpoint:{self.name}".encode()).hexdigest()

    @property
    def context_tokens(self) -> int:
        return self._endpoints.look().context_tokens or self._context_tokens

    def count_tokens(self, text: str) -> int:
        """The endpoint's count, or an estimate where it gives none."""

        def work(turn: Turn) -> Iterator[int]:
            yield _counted(turn, text)

        (count,) = self._endpoints.attempt(work)
        return count

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        grammar: str = "",
        cancelled: Callable[[], bool] = _wanted,
    ) -> Iterator[Piece]:
        """Pieces as they are written.

        Where an endpoint breaks off, the next begins anew, and what it writes goes on where the first one
        stopped; where it words it otherwise, that is EndpointFailed.
        """
        allowed = allowed_length(grammar)
        options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed, "stream": True}
        passed_on = ""

        def work(turn: Turn) -> Iterator[Piece]:
            nonlocal passed_on
            reply = Reply(
                allowed,
                most_characters=max_tokens * _MOST_CHARACTERS,
                already=passed_on,
                spent=_spent_on_trial(turn) if grammar else Usage(),
            )
            constraint = _constraint(turn, grammar) if grammar else {}
            body = {**options, **constraint, "stream_options": {"include_usage": True}}
            with closing(_streamed(turn, prompt, body)) as events:
                for event in events:
                    if text := reply.take(event):
                        passed_on += text
                        yield Piece(text)
                    if reply.is_cut:
                        break
            yield reply.last_piece(_estimate(prompt))

        yield from self._carried_out(work, cancelled)

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = _wanted
    ) -> Choice:
        """How likely the reply begins with each of the choices, as far as the endpoint tells.

        One that is not among the likeliest tokens, which are all that is told, gets what the others leave.
        Where no probabilities are told, the choice that is written gets three quarters, and where it is none
        of them, all are equal.
        """

        def work(turn: Turn) -> Iterator[Choice]:
            spent = _spent_on_trial(turn)
            for count in _top(turn):
                try:
                    found = _asked(turn, prompt, {"max_tokens": 1, "logprobs": True, "top_logprobs": count})
                except Rejected as rejected:
                    if is_too_long(rejected) or rejected.is_missing:
                        raise
                    continue
                spent += usage_of(found, _estimate(prompt), 1)
                scores = first_token_scores(found, choices)
                if scores is not None:
                    turn.found["top"] = count
                    yield Choice(scores, spent)
                    return
                break
            turn.found["top"] = 0
            found = _asked(turn, prompt, {"max_tokens": 8})
            yield Choice(chosen_by_word(found, choices), spent + usage_of(found, _estimate(prompt), 1))

        choice: Choice
        (choice,) = self._carried_out(work, cancelled)
        return choice

    def has_reading(self, prompt: Prompt) -> bool:
        return _key(prompt) in self._endpoints.expected().found.get("read", ())

    def read(self, prompt: Prompt, cancelled: Callable[[], bool] = _wanted) -> bool:
        """Have the endpoint read instructions and context, where it keeps what it has read.

        Whether it does is seen once: it is asked the same twice, and says how much it had read before. False
        where it keeps nothing, does not say so, or cannot take so much.
        """

        def work(turn: Turn) -> Iterator[bool]:
            if turn.found.get("keeps", True):
                found = _asked(turn, prompt, {"max_tokens": 1})
                if "keeps" not in turn.found:
                    again = usage_of(_asked(turn, prompt, {"max_tokens": 1}), 0, 1)
                    whole = usage_of(found, _estimate(prompt), 1).prompt_tokens
                    turn.found["keeps"] = 2 * again.cached_tokens >= whole > 0
            keeps = turn.found.get("keeps", False)
            if keeps:
                # Of this endpoint: another has not read it, nor has this one once it failed.
                read = [key for key in turn.found.get("read", ()) if key != _key(prompt)]
                turn.found["read"] = (*read[1 - KEPT :], _key(prompt))
            yield keeps

        try:
            (keeps,) = self._carried_out(work, cancelled)
        except (GenerationCancelled, QuestionTooLong):
            return False
        return bool(keeps)

    def close(self) -> None:
        """End what is under way, which raises EndpointFailed where it is still wanted."""
        self._endpoints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _carried_out(
        self, work: Callable[[Turn], Iterator[Any]], cancelled: Callable[[], bool]
    ) -> Iterator[Any]:
        def within_limits(turn: Turn) -> Iterator[Any]:
            try:
                yield from work(turn)
            except Rejected as rejected:
                if is_too_long(rejected):
                    raise QuestionTooLong(
                        f"the prompt is too long for the model at {turn.endpoint.address}: ask a shorter "
                        "question, lower section_tokens, or give the model a larger context"
                    ) from rejected
                raise

        try:
            yield from self._endpoints.attempt(within_limits, cancelled)
        except NoLongerWanted:
            raise GenerationCancelled("the answer was no longer wanted") from None


# -- requests -------------------------------------------------------------------------------------


def _spent_on_trial(turn: Turn) -> Usage:
    """Find out once how the endpoint takes a grammar, if it keeps to one at all; what that cost.

    Before the first prompt is sent, not between two that begin alike: what was read last is kept.
    """
    spent = Usage()
    if "spelling" not in turn.found:
        probe = Prompt("Be brief.", "", "Say hello.")
        kept_to = ""
        for name in sorted(_SPELLINGS, key=lambda name: turn.endpoint.owner not in name.lower()):
            fields = _SPELLINGS[name](f'root ::= "{_WORD}"')
            try:
                reply = _asked(turn, probe, {"max_tokens": 8, **fields})
            except Rejected:
                continue
            spent += usage_of(reply, _estimate(probe), 1)
            if written(reply).strip() == _WORD:
                kept_to = name
                break
        turn.found["spelling"] = kept_to
    return spent


def _constraint(turn: Turn, grammar: str) -> Mapping[str, Any]:
    """The fields that hold the endpoint to the grammar; none where it cannot be."""
    spelling = _SPELLINGS.get(turn.found["spelling"])
    return spelling(grammar) if spelling else {}


def _asked(turn: Turn, prompt: Prompt, fields: Mapping[str, Any]) -> Any:
    """The response to a prompt, whole."""
    for form, body in _bodies(turn, prompt, {"temperature": 0.0, **fields}):
        try:
            found = turn.post("/chat/completions", body)
        except Rejected as rejected:
            if not _can_be_plainer(form, rejected):
                raise
        else:
            turn.found["form"] = form
            return found
    raise AssertionError("the plainest form is answered or raises")


def _streamed(turn: Turn, prompt: Prompt, fields: Mapping[str, Any]) -> Generator[Any]:
    """The events of a response that is streamed."""
    for form, body in _bodies(turn, prompt, fields):
        try:
            with closing(turn.events("/chat/completions", body)) as events:
                yield from events
        except Rejected as rejected:  # comes before the first event, or never
            if not _can_be_plainer(form, rejected):
                raise
        else:
            turn.found["form"] = form
            return


_PLAINEST = 2


def _bodies(turn: Turn, prompt: Prompt, fields: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Requests that ask the same, the fullest first; of those, the one that is known to be understood.

    The next leaves out what not every endpoint knows, the last has no turn of the system either.
    """
    if prompt.reply:
        raise ModelUnsuitable("a model elsewhere begins its reply itself: use one that runs here")
    instructions, asked = prompt.instructions, defused(prompt.context + prompt.question)
    apart = [{"role": "system", "content": instructions}, {"role": "user", "content": asked}]
    together = [{"role": "user", "content": f"{instructions}\n\n{asked}"}]
    plain = {name: value for name, value in fields.items() if name not in _DISPENSABLE}
    base = {"model": turn.endpoint.model}
    forms = (
        {**base, "messages": apart, **fields, **_NOT_ALOUD},
        {**base, "messages": apart, **plain},
        {**base, "messages": together, **plain},
    )
    for form in range(turn.found.get("form", 0), len(forms)):
        yield form, forms[form]


def _can_be_plainer(form: int, rejected: Rejected) -> bool:
    return form < _PLAINEST and not rejected.is_missing and not is_too_long(rejected)


def _top(turn: Turn) -> tuple[int, ...]:
    """How many of the likeliest tokens to ask for, until it is granted; nothing where that is in vain."""
    known = turn.found.get("top")
    return (20, 5) if known is None else (known,) if known else ()


def _counted(turn: Turn, text: str) -> int:
    found = turn.found
    if found.get("counts", True):
        # As llama.cpp has it, and as vLLM does.
        body = {"model": turn.endpoint.model, "content": text, "prompt": text}
        plain = {"add_special": False, "add_special_tokens": False, "parse_special": False}
        try:
            told = turn.post("/tokenize", {**body, **plain}, beside=True)
        except Rejected:
            told = None
        except Fault as fault:
            if fault.is_passing:
                raise
            told = None
        if isinstance(told, dict) and isinstance(told.get("tokens"), list):
            return len(told["tokens"])
        found["counts"] = False
    return _estimated(text)


def _estimated(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)


def _estimate(prompt: Prompt) -> int:
    return _estimated(prompt.instructions + prompt.context + prompt.question)


def _key(prompt: Prompt) -> str:
    return f"{prompt.instructions}\0{prompt.context}"
